"""Updates through the real yfinance client and a fake Yahoo: what a new split, a repair and refusals do."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from pipeline.market.calendars import closed_at
from pipeline.market.specification import YAHOO
from pipeline.market.store.collection import Collection, open_collection, read_history
from pipeline.market.store.stored import current_rows
from pipeline.market.update import YAHOO_TERMS, UpdateResult, UpdateState, plan_update, run_update
from pipeline.market.yahoo.client import YahooClient
from pipeline.market.yahoo.rate_limit import Clock

from .fake_yahoo import FakeYahoo
from .rows import as_yahoo_exports, good_rows
from .yahoo.clocks import QUICK, MovedClock

START = date(2024, 1, 1)
ROWS = good_rows()
SPLIT_AT = 30


def evening(row: int) -> datetime:
    """An hour after the close of the session of a row."""
    return closed_at("XNYS", ROWS["session"].iloc[row].date()) + timedelta(hours=1)


@dataclass
class Desk:
    """A store that is brought up to date from the fake Yahoo, evening by evening."""

    collection: Collection
    yahoo: FakeYahoo
    client: YahooClient
    clock: "Evening"

    def update(self, row: int, **reported: pd.DataFrame) -> dict[str, UpdateResult]:
        """The state of each ticker after Yahoo reported these rows, as traded, up to the evening of a row."""
        for ticker, rows in reported.items():
            self.yahoo.frames[ticker] = as_yahoo_exports(rows.head(row + 1))
        self.clock.instant = evening(row)
        plan = plan_update(self.collection, reported or tuple(self.yahoo.frames), self.clock.instant, START)
        return {result.ticker: result for result in (*plan.results, *run_update(self.collection, self.client, plan))}


class Evening(MovedClock):
    """A clock whose instant is set by hand, and whose seconds cost no time."""

    instant = evening(0)

    def now(self) -> datetime:
        return self.instant


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    clock = Evening()
    with FakeYahoo({}, tmp_path) as fake, fake.session() as session:
        patience = Clock(clock.monotonic, clock.sleep, clock.now)
        client = YahooClient(START, session, tmp_path / "cache", QUICK, patience, np.random.default_rng(0))
        yield Desk(open_collection(tmp_path / "prices", YAHOO, YAHOO_TERMS), fake, client, clock)


def test_a_new_split_rewrites_nothing_that_is_stored(desk: Desk) -> None:
    first = desk.update(SPLIT_AT - 1, AAPL=ROWS)
    before = current_rows(desk.collection, "AAPL")
    np.testing.assert_allclose(before["close"], ROWS["close"].head(SPLIT_AT), rtol=1e-12)
    after = desk.update(SPLIT_AT + 1, AAPL=ROWS)
    assert (first["AAPL"].state, after["AAPL"].state) == (UpdateState.UPDATED, UpdateState.UPDATED)
    assert (after["AAPL"].added, after["AAPL"].reason) == (2, "")
    assert read_history(desk.collection, "AAPL").latest.restated == 0
    now = current_rows(desk.collection, "AAPL")
    pd.testing.assert_frame_equal(now.head(SPLIT_AT), before)
    assert now["split"].iloc[SPLIT_AT] == 4.0
    assert len(desk.yahoo.charts) == 2


def test_a_dividend_rewrites_nothing_either_though_it_moves_every_adjusted_close(desk: Desk) -> None:
    paid = ROWS.assign(dividend=np.where(ROWS.index == 25, 2.0, 0.0))
    desk.update(24, AAPL=ROWS.assign(dividend=0.0))
    after = desk.update(26, AAPL=paid.assign(adj_close=paid["adj_close"] * 0.98))
    assert (after["AAPL"].state, after["AAPL"].added) == (UpdateState.UPDATED, 2)
    assert current_rows(desk.collection, "AAPL")["dividend"].iloc[25] == pytest.approx(2.0)
    assert len(desk.yahoo.charts) == 2


def test_an_earlier_price_that_yahoo_repairs_is_fetched_anew(desk: Desk) -> None:
    desk.update(24, AAPL=ROWS)
    repaired = ROWS.copy()
    repaired.loc[[2, 20], "close"] *= 1.001
    after = desk.update(25, AAPL=repaired)
    assert (after["AAPL"].state, after["AAPL"].reason) == (UpdateState.RESTATED, "prices")
    assert len(desk.yahoo.charts) == 3
    np.testing.assert_allclose(current_rows(desk.collection, "AAPL")["close"], repaired["close"].head(26), rtol=1e-12)


def test_a_split_that_yahoo_has_not_applied_is_repaired_and_recorded(desk: Desk) -> None:
    reported = as_yahoo_exports(ROWS)
    old = reported.index < SPLIT_AT
    reported.loc[old, ["Open", "High", "Low", "Close"]] *= 4.0
    reported.loc[old, "Volume"] /= 4.0
    desk.yahoo.frames["AAPL"] = reported
    desk.update(59)
    stored = current_rows(desk.collection, "AAPL")
    np.testing.assert_allclose(stored["close"], ROWS["close"], rtol=1e-12)
    assert "unapplied_split" in {problem.rule for problem in read_history(desk.collection, "AAPL").latest.problems}


def test_an_adjusted_close_with_other_returns_is_noted(desk: Desk) -> None:
    desk.update(24, AAPL=ROWS)
    assert read_history(desk.collection, "AAPL").latest.problems == ()
    desk.update(24, MSFT=ROWS.assign(adj_close=ROWS["adj_close"].where(ROWS.index < 15, ROWS["adj_close"] * 1.1)))
    (problem,) = read_history(desk.collection, "MSFT").latest.problems
    assert (problem.rule, problem.session) == ("vendor_adjustment", str(ROWS["session"][15].date()))


def test_eighty_of_a_hundred_refused_yield_a_hundred_dated_rows(desk: Desk) -> None:
    names = [f"T{number}" for number in range(100)]
    frame, later = as_yahoo_exports(ROWS.head(12)), as_yahoo_exports(ROWS.head(14))
    desk.yahoo.frames.update(dict.fromkeys(names, frame))
    assert {result.state for result in desk.update(11).values()} == {UpdateState.UPDATED}
    desk.yahoo.frames.update(dict.fromkeys(names, later))
    desk.yahoo.play.refuse_after = desk.yahoo.charts_sent + 20
    found = desk.update(13)
    assert len(found) == 100
    fresh = [result for result in found.values() if result.state is UpdateState.UPDATED]
    stale = [result for result in found.values() if result.state is UpdateState.NOT_REFRESHED]
    assert (len(fresh), len(stale)) == (20, 80)
    assert {result.last_session for result in fresh} == {ROWS["session"][13].date()}
    assert {(result.last_session, result.age_sessions) for result in stale} == {(ROWS["session"][11].date(), 2)}
    assert all("Yahoo refuses for now (429)" in result.reason for result in stale)
    assert {len(current_rows(desk.collection, name)) for name in names} == {12, 14}
