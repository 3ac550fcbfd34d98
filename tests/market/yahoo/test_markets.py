"""Session dates of exchanges in many zones, whatever the zone of this machine."""

import json
import os
import subprocess
import sys
from datetime import date
from pathlib import Path

import pandas as pd
import pytest

from pipeline.errors import SourceUnavailableError
from pipeline.market.bars import FetchedRows
from pipeline.market.yahoo.client import YahooClient
from tests.market.fake_yahoo import FakeYahoo, Quote
from tests.market.rows import good_rows

MARKETS = {
    "AAPL": Quote(),
    "VOD.L": Quote("Europe/London", "08:00", "GBp"),
    "TCS.NS": Quote("Asia/Kolkata", "09:15", "INR"),
    "7203.T": Quote("Asia/Tokyo", "09:00", "JPY"),
    "BHP.AX": Quote("Australia/Sydney", "10:00", "AUD"),
    "PETR4.SA": Quote("America/Sao_Paulo", "10:00", "BRL"),
    "BTC-USD": Quote("UTC", "00:00", "USD", "CRYPTOCURRENCY"),
    "AIR.NZ": Quote("Pacific/Auckland", "10:00", "NZD"),
}
FIRST = date(2024, 3, 1)

ASK = """
import json, sys
from datetime import date
from pathlib import Path
from pipeline.market.yahoo.client import YahooClient
from pipeline.market.yahoo.rate_limit import RequestLimits

client = YahooClient(date(2024, 3, 1), None, Path(sys.argv[1]), RequestLimits(requests_per_second=1000))
answers = client.fetch(dict.fromkeys(sys.argv[2:]))
print(json.dumps({name: [str(day.date()) for day in got.rows["session"]] for name, got in answers}))
"""


@pytest.fixture
def exchanges(fake: FakeYahoo) -> FakeYahoo:
    """All markets, each with bars on the same wall days, over the days on which clocks change."""
    fake.frames.update(dict.fromkeys(MARKETS, fake.frames["AAPL"]))
    fake.play.quotes.update(MARKETS)
    return fake


def expected() -> pd.Series:
    sessions = good_rows()["session"]
    return sessions[sessions >= pd.Timestamp(FIRST)]


@pytest.mark.parametrize("ticker", MARKETS)
@pytest.mark.parametrize("since", [None, FIRST], ids=["whole", "tail"])
def test_dates_are_those_on_the_wall_of_the_exchange(
    ticker: str, since: date | None, client: YahooClient, exchanges: FakeYahoo
) -> None:
    ((_, got),) = client.fetch({ticker: since})
    assert isinstance(got, FetchedRows), got
    sessions = expected() if since else good_rows()["session"]
    assert got.rows["session"].tolist() == sessions.tolist()
    assert got.currency == MARKETS[ticker].currency


@pytest.mark.parametrize("machine", ["Asia/Tokyo", "America/Los_Angeles"])
def test_the_zone_of_the_machine_changes_nothing(machine: str, exchanges: FakeYahoo, tmp_path: Path) -> None:
    proxy = f"http://127.0.0.1:{exchanges.server.server_address[1]}"
    environment = os.environ | {
        "TZ": machine,
        "HTTPS_PROXY": proxy,
        "https_proxy": proxy,
        "REQUESTS_CA_BUNDLE": str(exchanges.authority),
        "NO_PROXY": "",
        "no_proxy": "",
    }
    completed = subprocess.run(
        [sys.executable, "-c", ASK, str(tmp_path / "own"), *MARKETS],
        check=False,
        cwd=Path(__file__).parents[3],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert completed.returncode == 0, completed.stderr
    days = [str(day.date()) for day in expected()]
    assert json.loads(completed.stdout) == dict.fromkeys(MARKETS, days)


def test_bars_stamped_with_utc_midnight_are_a_day_early_and_refused(client: YahooClient, fake: FakeYahoo) -> None:
    fake.play.quotes["AAPL"] = Quote(
        zone="UTC", opens="00:00", reported_zone="America/New_York", reported_offset_seconds=-18000
    )
    ((_, answer),) = client.fetch({"AAPL": None})
    assert isinstance(answer, SourceUnavailableError)
    assert "Sundays and no Friday" in str(answer)


def test_a_zone_that_contradicts_the_clock_is_refused(client: YahooClient, fake: FakeYahoo) -> None:
    fake.play.quotes["AAPL"] = Quote(zone="Asia/Tokyo", opens="15:00", reported_zone="Europe/London")
    ((_, answer),) = client.fetch({"AAPL": None})
    assert isinstance(answer, SourceUnavailableError)
    assert "found a clock +9 h from UTC, expected +0 h or +1 h as in Europe/London" in str(answer)
