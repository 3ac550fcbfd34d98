"""The command with source yahoo: the real yfinance client in a subprocess, a fake Yahoo on a loopback socket."""

from dataclasses import dataclass
from pathlib import Path

import pytest
from market.fake_yahoo import FakeYahoo
from market.rows import as_yahoo_exports, good_rows

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
def test_a_run_fed_by_yahoo_goes_on_without_the_ticker_it_does_not_know(small: Path, tmp_path: Path) -> None:
    frames = {
        ticker: as_yahoo_exports(good_rows(620, "2022-01-31", seed)) for seed, ticker in enumerate(("AAPL", "MSFT"))
    }
    with FakeYahoo(frames, tmp_path) as fake:
        proxy = f"http://127.0.0.1:{fake.server.server_address[1]}"
        tapecast = Proxied(tmp_path / "home", proxy, str(fake.authority))
        status, found = tapecast.json("run", "--experiment", small, "--source", "yahoo", "--tickers", "AAPL,GONE,MSFT")
    assert (status, found["status"]) == (3, "partial")
    assert [out["ticker"] for out in found["left_out"]] == ["GONE"]
    assert {row["ticker"] for row in found["forecasts"]} == {"AAPL", "MSFT"}
    last = good_rows(620, "2022-01-31", 0)["close"].iloc[-1]
    assert found["forecasts"][0]["reference_close"] == pytest.approx(last, rel=1e-6)
    assert set(fake.asked) >= {"AAPL", "MSFT", "GONE"}
