"""The command with source yahoo: the real yfinance client in a subprocess, a fake Yahoo on a loopback socket."""

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from pipeline.market.calendars import last_completed_session, sessions_between
from tests.market.fake_yahoo import FakeYahoo
from tests.market.rows import as_yahoo_exports, good_rows

from .command import Command


@dataclass(frozen=True)
class Proxied(Command):
    """A command whose every connection goes to the fake Yahoo."""

    proxy: str
    authority: str

    @property
    def environment(self) -> dict[str, str]:
        """The command's environment with the proxy, loopback left out."""
        loopback = "127.0.0.1,localhost"
        return {
            **super().environment,
            **dict.fromkeys(("HTTPS_PROXY", "https_proxy"), self.proxy),
            **dict.fromkeys(("NO_PROXY", "no_proxy"), loopback),
            "REQUESTS_CA_BUNDLE": self.authority,
        }


@pytest.mark.slow
def test_runs_from_yahoo_continue_without_what_it_does_not_answer(small: Path, tmp_path: Path) -> None:
    last = last_completed_session("XNYS", datetime.now(UTC))
    begin = str(sessions_between("XNYS", np.datetime64("2015-01-02"), last)[-621])
    rows = {"AAPL": good_rows(620, begin, 0), "MSFT": good_rows(620, begin, 1).iloc[:-2]}
    with FakeYahoo({ticker: as_yahoo_exports(frame) for ticker, frame in rows.items()}, tmp_path) as fake:
        proxy = f"http://127.0.0.1:{fake.server.server_address[1]}"
        tapecast = Proxied(tmp_path / "home", proxy, str(fake.authority))
        status, found = tapecast.json(
            "run", "--experiment", small, "--source", "yahoo", "--tickers", "AAPL,GONE,MSFT", "--publish"
        )
        requested = set(fake.requested)
        fake.play.everything = "reset"
        later_status, later = tapecast.json("forecast")
    assert (status, found["status"]) == (3, "partial")
    assert requested == {"AAPL", "MSFT", "GONE"}
    assert [out["ticker"] for out in found["excluded"]] == ["GONE"]
    assert [(one["ticker"], one["age_sessions"]) for one in found["stale"]] == [("MSFT", 2)]
    assert "the source has no bar after" in found["stale"][0]["reason"]
    assert {row["ticker"]: row["age_sessions"] for row in found["forecasts"]} == {"AAPL": 0, "MSFT": 2}
    assert found["forecasts"][0]["reference_close"] == pytest.approx(rows["AAPL"]["close"].iloc[-1], rel=1e-6)

    assert (later_status, later["status"]) == (3, "partial")
    assert later["excluded"] == []
    assert [(one["ticker"], one["age_sessions"]) for one in later["stale"]] == [("MSFT", 2)]
    assert "try again" in later["stale"][0]["reason"]
    assert later["forecasts"] == found["forecasts"]
    page = Path(later["report"]).read_text("utf-8")
    assert "1 not up to date" in page
    assert set(fake.requested[3:]) == {"MSFT"}  # AAPL is known to the last session: nothing is requested
