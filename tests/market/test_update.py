"""Updates of a collection: what is requested, what a restatement does, and what stays where nothing can be fetched."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from pipeline.errors import SourceError, SourceUnavailableError
from pipeline.market.bars import FetchedRows
from pipeline.market.calendars import closed_at
from pipeline.market.specification import YAHOO
from pipeline.market.store.collection import Collection, open_collection, path_of, read_history
from pipeline.market.store.history import as_known
from pipeline.market.store.stored import current_rows
from pipeline.market.update import OVERLAP_SESSIONS, YAHOO_TERMS, UpdateResult, UpdateState, plan_update, run_update

from .rows import good_rows

START = date(2024, 1, 1)
ROWS = good_rows()
SESSIONS = ROWS["session"]


@dataclass
class RecordingSource:
    """A source that returns given rows up to its clock and records what was requested."""

    rows: dict[str, pd.DataFrame]
    now: datetime
    errors: dict[str, SourceError] = field(default_factory=dict)
    whole_errors: dict[str, SourceError] = field(default_factory=dict)
    currency: str = "USD"
    log: list[tuple[str, date | None]] = field(default_factory=list)

    def fetch(self, requested: Mapping[str, date | None]) -> Iterator[tuple[str, FetchedRows | SourceError]]:
        for ticker, since in requested.items():
            self.log.append((ticker, since))
            yield ticker, self._answer(ticker, since)

    def _answer(self, ticker: str, since: date | None) -> FetchedRows | SourceError:
        errors = self.whole_errors if since == START else self.errors
        if ticker in errors:
            return errors[ticker]
        if ticker not in self.rows:
            return SourceError("no such ticker")
        rows = self.rows[ticker]
        reported = rows[
            (rows["session"] >= pd.Timestamp(since or START)) & (rows["session"].dt.date <= self.now.date())
        ]
        return FetchedRows(reported.assign(adj_close=np.nan).reset_index(drop=True), since, self.currency, self.now)


def after(row: int) -> datetime:
    """An hour after the close of the session of a row."""
    return closed_at("XNYS", SESSIONS.iloc[row].date()) + timedelta(hours=1)


@pytest.fixture
def collection(tmp_path: Path) -> Collection:
    return open_collection(tmp_path / "prices", YAHOO, YAHOO_TERMS)


def updated(
    collection: Collection, source: RecordingSource, *tickers: str, start: date = START
) -> dict[str, UpdateResult]:
    """How the tickers stand after an update at the source's time; the source's list begins anew."""
    source.log.clear()
    plan = plan_update(collection, tickers or tuple(source.rows), source.now, start)
    return {result.ticker: result for result in (*plan.results, *run_update(collection, source, plan))}


def test_the_first_update_asks_for_all_and_the_next_for_nothing(collection: Collection) -> None:
    source = RecordingSource({"AAPL": ROWS}, after(40))
    first = updated(collection, source)
    assert first["AAPL"] == UpdateResult("AAPL", UpdateState.UPDATED, SESSIONS[40].date(), 0, 41)
    assert source.log == [("AAPL", START)]
    again = updated(collection, source)
    assert again["AAPL"].state is UpdateState.CURRENT
    assert source.log == []
    assert len(read_history(collection, "AAPL").versions) == 1


def test_only_the_tail_is_requested_with_an_overlap(collection: Collection) -> None:
    source = RecordingSource({"AAPL": ROWS}, after(40))
    updated(collection, source)
    source.now = after(43)
    found = updated(collection, source)
    assert source.log == [("AAPL", SESSIONS[41 - OVERLAP_SESSIONS].date())]
    assert (found["AAPL"].state, found["AAPL"].added) == (UpdateState.UPDATED, 3)
    pd.testing.assert_frame_equal(
        current_rows(collection, "AAPL"), ROWS.head(44)[list(current_rows(collection, "AAPL").columns)]
    )
    (version,) = read_history(collection, "AAPL").versions[1:]
    assert (version.added, version.restated, version.removed, version.restatements) == (3, 0, 0, ())


def test_a_session_that_is_not_over_is_never_stored(collection: Collection) -> None:
    source = RecordingSource({"AAPL": ROWS}, after(40) - timedelta(hours=3))
    assert updated(collection, source)["AAPL"].last_session == SESSIONS[39].date()
    assert current_rows(collection, "AAPL")["session"].max() == SESSIONS[39]


def test_a_ticker_whose_only_bar_is_not_over_is_missing(collection: Collection) -> None:
    source = RecordingSource({"NEW": ROWS.iloc[40:41]}, after(40) - timedelta(hours=3))
    found = updated(collection, source)["NEW"]
    assert found.state is UpdateState.MISSING
    assert "no bar of a completed session" in found.reason


def changed(row: int, **values: float) -> pd.DataFrame:
    """The rows with one of them restated."""
    rows = ROWS.copy()
    for name, factor in values.items():
        rows.loc[row, name] = rows.loc[row, name] * factor if name not in ("dividend", "split") else factor
    return rows


RESTATED = {
    "dividend": changed(38, dividend=0.7),
    "split": changed(38, split=2.0),
    "prices": changed(38, close=1.0001),
    "sessions": ROWS.drop(index=38).reset_index(drop=True),
}


@pytest.mark.parametrize("kind", RESTATED)
def test_a_past_restated_is_fetched_anew_and_recorded(kind: str, collection: Collection) -> None:
    source = RecordingSource({"AAPL": ROWS, "MSFT": ROWS}, after(40))
    updated(collection, source)
    source.rows["AAPL"], source.now = RESTATED[kind].copy(), after(41)
    source.rows["AAPL"].loc[3, "close"] *= 1.0002  # a repair that the overlap alone would not tell
    found = updated(collection, source)
    tail = SESSIONS[41 - OVERLAP_SESSIONS].date()
    assert source.log == [("AAPL", tail), ("MSFT", tail), ("AAPL", START)]
    assert (found["AAPL"].state, found["MSFT"].state) == (UpdateState.RESTATED, UpdateState.UPDATED)
    assert kind in found["AAPL"].reason
    version = read_history(collection, "AAPL").latest
    assert {kind, "prices"} <= {restatement.kind for restatement in version.restatements}
    now = current_rows(collection, "AAPL")
    reported = source.rows["AAPL"][source.rows["AAPL"]["session"] <= SESSIONS[41]]
    np.testing.assert_allclose(now["close"], reported["close"], rtol=1e-12)
    before = as_known(read_history(collection, "AAPL"), after(40))
    np.testing.assert_allclose(before["close"], ROWS["close"].head(41), rtol=1e-12)


def test_a_settled_volume_is_recorded_without_fetching_anew(collection: Collection) -> None:
    source = RecordingSource({"AAPL": ROWS}, after(40))
    updated(collection, source)
    source.rows["AAPL"], source.now = changed(40, volume=1.01), after(41)
    found = updated(collection, source)
    assert [since for _, since in source.log] == [SESSIONS[41 - OVERLAP_SESSIONS].date()]
    assert (found["AAPL"].state, found["AAPL"].reason) == (UpdateState.RESTATED, "volume")
    assert current_rows(collection, "AAPL")["volume"].iloc[40] == pytest.approx(ROWS["volume"][40] * 1.01)


def test_a_last_close_that_is_settled_later_is_recorded_without_fetching_anew(collection: Collection) -> None:
    source = RecordingSource({"AAPL": ROWS}, after(40))
    updated(collection, source)
    source.rows["AAPL"], source.now = changed(40, close=1.0001), after(41)
    assert updated(collection, source)["AAPL"].reason == "prices"
    assert [since for _, since in source.log] == [SESSIONS[41 - OVERLAP_SESSIONS].date()]
    assert current_rows(collection, "AAPL")["close"].iloc[40] == pytest.approx(ROWS["close"][40] * 1.0001, rel=1e-12)


def test_what_cannot_be_refreshed_is_served_as_it_is_with_its_age(collection: Collection) -> None:
    source = RecordingSource({"AAPL": ROWS, "MSFT": ROWS}, after(40))
    updated(collection, source, "AAPL")
    source.errors["AAPL"] = source.whole_errors["MSFT"] = SourceUnavailableError("429")
    source.now = after(50)
    found = updated(collection, source)
    assert (found["AAPL"].state, found["AAPL"].last_session) == (UpdateState.NOT_REFRESHED, SESSIONS[40].date())
    assert found["AAPL"].age_sessions == 10
    assert found["AAPL"].reason == found["MSFT"].reason == "429"
    assert (found["MSFT"].state, found["MSFT"].age_sessions) == (UpdateState.MISSING, None)
    assert len(current_rows(collection, "AAPL")) == 41


def test_where_the_whole_cannot_be_fetched_nothing_is_stored(collection: Collection) -> None:
    source = RecordingSource({"AAPL": ROWS}, after(40))
    updated(collection, source)
    before = path_of(collection, "AAPL").read_bytes()
    source.rows["AAPL"], source.now = RESTATED["dividend"], after(41)
    source.whole_errors["AAPL"] = SourceUnavailableError("429")
    found = updated(collection, source)["AAPL"]
    assert found.state is UpdateState.NOT_REFRESHED
    assert found.reason == "its whole history had to be fetched again (dividend), but: 429"
    assert path_of(collection, "AAPL").read_bytes() == before


def test_a_source_without_newer_bars_leaves_the_ticker_behind(collection: Collection) -> None:
    source = RecordingSource({"AAPL": ROWS.head(41)}, after(43))
    found = updated(collection, source)["AAPL"]
    assert (found.state, found.last_session, found.age_sessions) == (UpdateState.BEHIND, SESSIONS[40].date(), 3)
    assert "no bar after 2024" in found.reason


def test_a_damaged_file_is_quarantined_and_fetched_anew(collection: Collection) -> None:
    source = RecordingSource({"AAPL": ROWS}, after(40))
    updated(collection, source)
    path = path_of(collection, "AAPL")
    content = bytearray(path.read_bytes())
    content[len(content) // 3] ^= 0xFF
    path.write_bytes(bytes(content))
    source.now = after(41)
    assert updated(collection, source)["AAPL"].state is UpdateState.UPDATED
    assert len(current_rows(collection, "AAPL")) == 42
    (quarantined,) = collection.folder.glob("AAPL.parquet.damaged-*")
    assert quarantined.read_bytes() == bytes(content)


@pytest.mark.parametrize("content", [b"", b"PAR1 and then nothing"])
def test_a_file_without_a_footer_is_quarantined_too(content: bytes, collection: Collection) -> None:
    source = RecordingSource({"AAPL": ROWS}, after(40))
    updated(collection, source)
    path_of(collection, "AAPL").write_bytes(content)
    assert updated(collection, source)["AAPL"].state is UpdateState.UPDATED
    assert len(current_rows(collection, "AAPL")) == 41
    assert len(list(collection.folder.glob("AAPL.parquet.damaged-*"))) == 1


def test_an_earlier_start_asks_for_the_whole_and_a_later_one_for_nothing(collection: Collection) -> None:
    late, source = SESSIONS[20].date(), RecordingSource({"AAPL": ROWS}, after(40))
    updated(collection, source, start=late)
    assert len(current_rows(collection, "AAPL")) == 21
    assert updated(collection, source, start=START)["AAPL"].added == 20
    assert source.log == [("AAPL", START)]
    assert read_history(collection, "AAPL").latest.restatements == ()
    assert updated(collection, source, start=late)["AAPL"].state is UpdateState.CURRENT


def test_a_restated_past_is_requested_from_where_the_store_begins(collection: Collection) -> None:
    late, source = SESSIONS[20].date(), RecordingSource({"AAPL": ROWS}, after(40))
    updated(collection, source)
    source.rows["AAPL"], source.now = RESTATED["prices"], after(41)
    updated(collection, source, start=late)
    assert source.log[-1] == ("AAPL", START)


def test_a_ticker_named_twice_is_requested_once(collection: Collection) -> None:
    source = RecordingSource({"AAPL": ROWS}, after(40))
    plan = plan_update(collection, ("AAPL", "AAPL"), source.now, START)
    assert plan.first_days == {"AAPL": START}
    updated(collection, source)
    assert len(plan_update(collection, ("AAPL", "AAPL"), source.now, START).results) == 1


def test_a_blank_last_row_is_requested_again(collection: Collection) -> None:
    blank = ROWS.copy()
    blank.loc[40, ["open", "high", "low", "close"]] = np.nan
    source = RecordingSource({"AAPL": blank}, after(40))
    updated(collection, source)
    source.rows["AAPL"] = ROWS
    assert updated(collection, source)["AAPL"].state is UpdateState.RESTATED
    assert current_rows(collection, "AAPL")["close"].iloc[40] == ROWS["close"][40]
    assert updated(collection, source)["AAPL"].state is UpdateState.CURRENT


def test_a_source_that_is_late_takes_no_stored_bar_away(collection: Collection) -> None:
    source = RecordingSource({"AAPL": ROWS}, after(40))
    updated(collection, source)
    source.rows["AAPL"], source.now = ROWS.head(39), after(41)
    found = updated(collection, source)["AAPL"]
    assert (found.state, found.last_session, found.age_sessions) == (UpdateState.BEHIND, SESSIONS[40].date(), 1)
    assert len(current_rows(collection, "AAPL")) == 41


def test_an_action_reported_late_on_the_last_session_fetches_all_anew(collection: Collection) -> None:
    source = RecordingSource({"AAPL": ROWS}, after(40))
    updated(collection, source)
    source.rows["AAPL"], source.now = changed(40, dividend=0.7), after(41)
    assert "dividend" in updated(collection, source)["AAPL"].reason
    assert source.log[-1] == ("AAPL", START)


def test_a_damaged_file_of_an_up_to_date_ticker_is_fetched_anew_at_once(collection: Collection) -> None:
    source = RecordingSource({"AAPL": ROWS}, after(40))
    updated(collection, source)
    path = path_of(collection, "AAPL")
    content = bytearray(path.read_bytes())
    content[len(content) // 3] ^= 0xFF
    path.write_bytes(bytes(content))
    assert updated(collection, source)["AAPL"].state is UpdateState.UPDATED
    assert source.log == [("AAPL", START)]
    assert len(current_rows(collection, "AAPL")) == 41


@pytest.mark.parametrize("name", ["../../x", "A/B", "<b>", "", "AAPL.QQQQ"])
def test_an_invalid_ticker_name_is_missing_and_never_requested(name: str, collection: Collection) -> None:
    source = RecordingSource({}, after(40))
    assert updated(collection, source, name)[name].state is UpdateState.MISSING
    assert source.log == []


def test_another_currency_is_recorded(collection: Collection) -> None:
    source = RecordingSource({"AAPL": ROWS}, after(40))
    updated(collection, source)
    source.currency, source.now = "EUR", after(41)
    found = updated(collection, source)["AAPL"]
    assert "currency" in found.reason
    head = read_history(collection, "AAPL").latest
    assert head.currency == "EUR"
    assert [(problem.rule, problem.found) for problem in head.problems] == [("currency", "EUR after USD")]
