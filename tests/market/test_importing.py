"""Importing files into the store: what is stored, and what is reported of the rest."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from pipeline.market.bars import ReturnsFrom
from pipeline.market.calendars import closed_at
from pipeline.market.importing import import_prices, terms_of
from pipeline.market.in_memory import InMemoryPrices
from pipeline.market.store.collection import Collection, open_collection, path_of, read_history, tickers
from pipeline.market.store.stored import current_rows
from pipeline.market.update import UpdateResult, UpdateState

from .rows import good_rows

ROWS = good_rows()
LAST = ROWS["session"].iloc[-1].date()
CLOSE = closed_at("XNYS", LAST)
NOW = CLOSE + timedelta(hours=1)


def held(frames: dict[str, pd.DataFrame], returns_from: ReturnsFrom = "actions", **refused: str) -> InMemoryPrices:
    has_actions = all("split" in rows for rows in frames.values())
    return InMemoryPrices(frames, "as_traded", has_actions, returns_from, "Made up.", refused)


def imported(
    root: Path, prices: InMemoryPrices, now: datetime = NOW, *names: str
) -> tuple[Collection, dict[str, UpdateResult]]:
    """The collection after an import, and how each ticker stands."""
    collection = open_collection(root, "mine", terms_of(prices))
    return collection, {
        update.ticker: update for update in import_prices(collection, prices, names or prices.tickers(), now)
    }


def test_the_terms_are_those_of_the_files() -> None:
    plain = held({"AAA": ROWS.drop(columns=["dividend", "split", "adj_close"])}, "close")
    assert (terms_of(plain).kind, terms_of(plain).has_actions, terms_of(plain).returns_from) == (
        "files",
        False,
        "close",
    )
    whole = terms_of(InMemoryPrices({"AAA": ROWS}, "split_adjusted", True, "adj_close", "Made up."))
    assert (whole.has_actions, whole.returns_from, whole.price_basis) == (True, "adj_close", "split_adjusted")


def test_what_is_imported_is_stored_as_it_was(tmp_path: Path) -> None:
    collection, found = imported(tmp_path, held({"AAA": ROWS}, "adj_close"))
    assert found == {"AAA": UpdateResult("AAA", UpdateState.UPDATED, LAST, None, len(ROWS))}
    pd.testing.assert_frame_equal(current_rows(collection, "AAA"), ROWS[list(current_rows(collection, "AAA"))])
    assert "adj_close" in current_rows(collection, "AAA")


@pytest.mark.parametrize(("now", "left"), [(CLOSE - timedelta(minutes=1), 59), (CLOSE, 60), (NOW, 60)])
def test_only_completed_sessions_are_imported(tmp_path: Path, now: datetime, left: int) -> None:
    collection, found = imported(tmp_path, held({"AAA": ROWS}), now)
    assert found["AAA"].last_session == ROWS["session"].iloc[left - 1].date()
    assert len(current_rows(collection, "AAA")) == left


def test_a_file_of_the_future_alone_is_missing(tmp_path: Path) -> None:
    collection, found = imported(tmp_path, held({"AAA": ROWS}), datetime(2024, 1, 2, tzinfo=UTC))
    assert found["AAA"].state is UpdateState.MISSING
    assert "no bar of a completed session" in found["AAA"].reason
    assert tickers(collection) == ()


def in_other_zones(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows with dates that change their time zone half way: they may be a day off."""
    zones = np.where(np.arange(len(rows)) < len(rows) // 2, "T00:00:00-05:00", "T00:00:00+09:00")
    return rows.assign(session=rows["session"].dt.strftime("%Y-%m-%d") + zones)


SPOILT = {
    "a column lacks": (ROWS.drop(columns="close"), "no column close"),
    "two time zones": (in_other_zones(ROWS), "UTC offset"),
    "no row": (ROWS.head(0), "found no row of it"),
    "no date": (ROWS.assign(session="someday"), "date 'someday'"),
}


@pytest.mark.parametrize("fault", SPOILT)
def test_rows_that_no_reader_can_trust_leave_out_their_ticker_alone(tmp_path: Path, fault: str) -> None:
    rows, words = SPOILT[fault]
    collection, found = imported(tmp_path, held({"AAA": ROWS, "BAD": rows, "CCC": ROWS}))
    assert {name: result.state for name, result in found.items()} == {
        "AAA": UpdateState.UPDATED,
        "BAD": UpdateState.MISSING,
        "CCC": UpdateState.UPDATED,
    }
    assert words in found["BAD"].reason
    assert tickers(collection) == ("AAA", "CCC")


def test_a_spoilt_file_takes_nothing_away_that_is_stored(tmp_path: Path) -> None:
    collection, _ = imported(tmp_path, held({"AAA": ROWS}))
    before = path_of(collection, "AAA").read_bytes()
    _, found = imported(tmp_path, held({"AAA": in_other_zones(ROWS)}), NOW + timedelta(days=7))
    assert (found["AAA"].state, found["AAA"].last_session) == (UpdateState.NOT_REFRESHED, LAST)
    assert found["AAA"].age_sessions == 5
    assert "UTC offset" in found["AAA"].reason
    assert path_of(collection, "AAA").read_bytes() == before


def test_what_was_repaired_on_the_way_is_recorded_with_the_version(tmp_path: Path) -> None:
    twice = pd.concat([ROWS, ROWS.iloc[[7]]], ignore_index=True)
    collection, found = imported(tmp_path, held({"AAA": twice}))
    assert found["AAA"].added == len(ROWS)
    assert [problem.rule for problem in read_history(collection, "AAA").latest.problems] == ["unsorted", "repeated"]


def test_files_without_actions_are_stored_with_none(tmp_path: Path) -> None:
    collection, _ = imported(tmp_path, held({"AAA": ROWS.drop(columns=["dividend", "split", "adj_close"])}, "close"))
    rows = current_rows(collection, "AAA")
    assert (rows["dividend"].unique().tolist(), rows["split"].unique().tolist()) == ([0.0], [1.0])


def test_a_past_restated_is_a_restatement_with_its_kind(tmp_path: Path) -> None:
    imported(tmp_path, held({"AAA": ROWS}))
    moved = ROWS.copy()
    moved.loc[5, "close"] *= 1.0001
    collection, found = imported(tmp_path, held({"AAA": moved}), NOW + timedelta(hours=1))
    assert (found["AAA"].state, found["AAA"].reason) == (UpdateState.RESTATED, "prices")
    assert len(read_history(collection, "AAA").versions) == 2


def test_every_name_that_has_no_rows_is_reported_with_its_reason(tmp_path: Path) -> None:
    prices = held({"AAA": ROWS, "BBB.QQQQ": ROWS, "../../x": ROWS}, HALF="its file has no column split")
    collection, found = imported(tmp_path, prices, NOW, "AAA", "GONE", "HALF", "BBB.QQQQ", "../../x")
    assert found.pop("AAA").state is UpdateState.UPDATED
    assert {result.state for result in found.values()} == {UpdateState.MISSING}
    reasons = {name: result.reason for name, result in found.items()}
    assert "unknown ticker 'GONE'" in reasons["GONE"]
    assert reasons["HALF"] == "its file has no column split"
    assert "QQQQ" in reasons["BBB.QQQQ"]
    assert "found '../../x' as a ticker" in reasons["../../x"]
    assert tickers(collection) == ("AAA",)
    assert {path.name for path in tmp_path.rglob("*.parquet")} == {path_of(collection, "AAA").name}


def test_a_damaged_file_is_quarantined_and_imported_anew(tmp_path: Path) -> None:
    collection, _ = imported(tmp_path, held({"AAA": ROWS}))
    path = path_of(collection, "AAA")
    path.write_bytes(b"PAR1 and then nothing")
    _, found = imported(tmp_path, held({"AAA": ROWS}), NOW + timedelta(hours=1))
    assert (found["AAA"].state, found["AAA"].added) == (UpdateState.UPDATED, len(ROWS))
    (quarantined,) = collection.folder.glob("AAA.parquet.damaged-*")
    assert quarantined.read_bytes() == b"PAR1 and then nothing"
