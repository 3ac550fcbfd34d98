"""As known at any time: against a twin that keeps a full copy of every answer."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.errors import SourceError, UsageError
from pipeline.market.bars import FetchedRows
from pipeline.market.store.columns import KNOWN, bar_rows
from pipeline.market.store.history import History, as_known, facts_of, version_at
from pipeline.market.store.layout import decoded, encoded
from pipeline.market.store.merging import merged
from pipeline.market.store.pruning import pruned
from tests.market.rows import good_rows
from tests.market.store.made import after, day, fetched_of

ROWS = good_rows(24)
FIELDS = ["open", "high", "low", "close", "volume", "dividend", "split"]
SLACK = {"volume": (1.1e-6, 1.0), "dividend": (1.1e-5, 0.0)}

Copy = dict[pd.Timestamp, dict[str, float]]


def history_of(*answers: FetchedRows, keep_adj_close: bool = False) -> History:
    history = None
    for answer in answers:
        history = merged(history, answer, keep_adj_close)
    assert history is not None
    return history


def all_rows(history: History) -> pd.DataFrame:
    """Return every row, superseded ones too, with known_from and known_until as UTC times (NaT: still current)."""
    times = {name: pd.DatetimeIndex(history.columns[name]).tz_localize("UTC") for name in KNOWN}
    return bar_rows(history.columns).assign(**times)


# --- the twin ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Answer:
    """What happens before a fetch, and what is requested: the vendor's rows at `spoilt` change, then a fetch."""

    passed: int
    way: str
    spoilt: tuple[int, ...]
    size: float
    overlap: int | None
    hours: float


ANSWERS = st.lists(
    st.builds(
        Answer,
        passed=st.integers(0, 3),
        way=st.sampled_from(["nothing", "close", "volume", "dividend", "split", "nan", "lost", "back", "rounding"]),
        spoilt=st.lists(st.integers(0, 23), max_size=4).map(tuple),
        size=st.sampled_from([0.5, 0.999, 1.0, 1 + 5e-7, 1 + 1.5e-6, 1.01, 2.0]),
        overlap=st.one_of(st.none(), st.integers(1, 12)),
        hours=st.sampled_from([-30.0, -1.0, 0.0, 1.0, 24.0]),
    ),
    min_size=1,
    max_size=7,
)


def play(answers: list[Answer], keep_adj_close: bool) -> tuple[History, list[Copy], list[pd.DataFrame]]:
    """The history after all answers; per answer the twin's copy; and what was known right after it."""
    vendor, absent, now, hours = ROWS.copy(), set[int](), 12, 0.0
    history: History | None = None
    copies: list[Copy] = []
    fresh = []
    for answer in answers:
        now, hours = min(len(ROWS), now + answer.passed), hours + answer.hours
        spoil(vendor, absent, answer)
        shown = vendor.iloc[:now].drop(index=[at for at in absent if at < now])
        if shown.empty:
            continue
        since = None if answer.overlap is None else day(shown, -min(answer.overlap, len(shown)))
        fetched = fetched_of(shown, hours, since)
        history = merged(history, fetched, keep_adj_close)
        copies.append(copied(copies[-1] if copies else {}, fetched))
        fresh.append(as_known(history))
    if history is None:
        return play([Answer(0, "nothing", (), 1.0, None, 0.0)], keep_adj_close)
    return history, copies, fresh


def spoil(vendor: pd.DataFrame, absent: set[int], answer: Answer) -> None:
    spoilt = list(answer.spoilt)
    if answer.way == "lost":
        absent |= set(spoilt)
    elif answer.way == "back":
        absent -= set(spoilt)
    elif answer.way == "nan":
        vendor.loc[spoilt, "close"] = np.nan
    elif answer.way == "rounding":
        vendor[["open", "high", "low", "close"]] *= 1 + 4e-7
    elif answer.way != "nothing":
        vendor.loc[spoilt, answer.way] = vendor.loc[spoilt, answer.way] * answer.size + (answer.way == "dividend") * 0.1


def copied(former: Copy, fetched: FetchedRows) -> Copy:
    """All reported rows: those before the first requested day or after the last reported one stay."""
    since = pd.Timestamp.min if fetched.since is None else pd.Timestamp(fetched.since)
    last = fetched.rows["session"].iloc[-1]
    kept = {session: row for session, row in former.items() if session < since or session > last}
    return kept | {row["session"]: row for row in fetched.rows.to_dict("records")}


def check_like(known: pd.DataFrame, copy: Copy, fields: list[str]) -> None:
    assert list(known["session"]) == sorted(copy)
    for row in known.to_dict("records"):
        for name in fields:
            relative, absolute = SLACK.get(name, (1.1e-6, 0.0))
            assert row[name] == pytest.approx(copy[row["session"]][name], rel=relative, abs=absolute, nan_ok=True)


@settings(max_examples=150, derandomize=True, deadline=None)
@given(ANSWERS, st.booleans())
def test_every_version_is_what_a_full_copy_of_every_answer_says(answers: list[Answer], keep_adj_close: bool) -> None:
    history, copies, fresh = play(answers, keep_adj_close)
    fields = [*FIELDS, *(["adj_close"] if keep_adj_close else [])]
    history = decoded(encoded("A", history), Path("A.parquet"), "A", keep_adj_close)
    assert len(history.versions) == len(copies)
    for version, copy, right_after in zip(history.versions, copies, fresh, strict=True):
        known = as_known(history, version.known_at)
        check_like(known, copy, fields)
        pd.testing.assert_frame_equal(known, right_after, check_exact=True)  # later fetches change no bit of it
        assert len(known) == version.rows
    pd.testing.assert_frame_equal(as_known(history), fresh[-1], check_exact=True)
    check_rows(history)


def check_rows(history: History) -> None:
    """Of each session one row is current at a time, and the versions' counts are those of the rows."""
    rows = all_rows(history)
    assert rows["session"].is_monotonic_increasing
    for _, told_rows in rows.groupby("session"):
        spans = list(zip(told_rows["known_from"], told_rows["known_until"], strict=True))
        assert all(until <= later for (_, until), (later, _) in pairwise(spans))
        assert all(pd.isna(until) or begin < until for begin, until in spans)
    for version in history.versions:
        assert int((rows["known_from"] == version.known_at).sum()) == version.added + version.restated
        assert int((rows["known_until"] == version.known_at).sum()) == version.removed + version.restated


@settings(max_examples=100, derandomize=True, deadline=None)
@given(ANSWERS, st.integers(0, 6), st.sampled_from([-1, 0, 1]))
def test_pruning_changes_no_answer_from_its_time_on(answers: list[Answer], which: int, step: int) -> None:
    history, _, _ = play(answers, keep_adj_close=False)
    moment = timedelta(microseconds=1)
    before = history.versions[which % len(history.versions)].known_at + step * moment
    left = pruned(history, before)
    times = [version.known_at + shift * moment for version in history.versions for shift in (-1, 0, 1)]
    for at in (*times, before):
        if at >= max(before, history.versions[0].known_at):
            pd.testing.assert_frame_equal(as_known(left, at), as_known(history, at), check_exact=True)
            assert version_at(left, at) == version_at(history, at)
    pd.testing.assert_frame_equal(as_known(left), as_known(history), check_exact=True)
    assert facts_of(left).model_copy(update={"versions": len(history.versions)}) == facts_of(history)
    assert sum(version.known_at <= before for version in left.versions) <= 1
    needed = {pd.Timestamp(version.known_at) for version in left.versions[1:]}
    ended = all_rows(left)["known_until"].dropna()
    assert set(ended) <= needed  # no row is kept that no question can reach
    assert pruned(left, before) is left


# --- by example -------------------------------------------------------------------------------------------------------


def test_only_changed_rows_are_stored_again() -> None:
    later = ROWS.assign(close=ROWS["close"].where(ROWS.index != 5, 1.0))
    history = history_of(
        fetched_of(ROWS), fetched_of(later, 24), fetched_of(later, 48), fetched_of(later, 72, day(ROWS, 15))
    )
    assert len(history.columns["session"]) == len(ROWS) + 1
    assert [version.restated for version in history.versions] == [0, 1, 0, 0]
    assert [version.added for version in history.versions] == [len(ROWS), 0, 0, 0]
    (found,) = history.versions[1].restatements
    assert (found.kind, found.first_session, found.rows, found.found) == ("prices", day(ROWS, 5), 1, "close 1")


def test_a_number_within_the_tolerance_leaves_the_stored_one_to_the_bit() -> None:
    wobbling = [ROWS.assign(close=ROWS["close"] * (1 + k * 2e-7)) for k in range(1, 12)]
    history = history_of(fetched_of(ROWS), *(fetched_of(rows, k) for k, rows in enumerate(wobbling[:5], 1)))
    assert (as_known(history)["close"] == ROWS["close"]).all()
    drifted = history_of(fetched_of(ROWS), *(fetched_of(rows, k) for k, rows in enumerate(wobbling, 1)))
    assert np.allclose(as_known(drifted)["close"], wobbling[-1]["close"], rtol=1e-6, atol=0)  # steps do not add up
    volume = history_of(fetched_of(ROWS), fetched_of(wobbling[0].assign(volume=ROWS["volume"] * 2), 1))
    assert (as_known(volume)["close"] == ROWS["close"]).all()
    assert (as_known(volume)["volume"] == 2 * ROWS["volume"]).all()


def test_the_times_of_versions_rise_though_the_clock_steps_back() -> None:
    history = history_of(fetched_of(ROWS), fetched_of(ROWS, -5), fetched_of(ROWS, -5), fetched_of(ROWS, 1))
    times = [version.known_at for version in history.versions]
    moment = timedelta(microseconds=1)
    assert times == [after(0), after(0) + moment, after(0) + 2 * moment, after(1)]


def test_before_the_first_version_nothing_is_known_and_the_error_says_since_when() -> None:
    history = history_of(fetched_of(ROWS, 1))
    with pytest.raises(SourceError, match="knows it from 2024-06-03 22:30:00 UTC"):
        as_known(history, after(0.9))
    assert len(as_known(history, after(1))) == len(ROWS)
    assert len(as_known(history, after(1).astimezone(datetime.now().astimezone().tzinfo))) == len(ROWS)


@pytest.mark.parametrize("use", [as_known, pruned, version_at])
def test_a_time_without_a_time_zone_is_refused(use: Any) -> None:
    with pytest.raises(UsageError, match="without a time zone"):
        use(history_of(fetched_of(ROWS)), after(0).replace(tzinfo=None))


def test_the_rows_known_are_canonical() -> None:
    shuffled_types = ROWS.astype({"session": "datetime64[ns]", "volume": "int64", "open": "float32"})
    known = as_known(history_of(fetched_of(shuffled_types), keep_adj_close=True))
    assert str(known["session"].dtype) == "datetime64[s]"
    assert {str(kind) for kind in known.drop(columns="session").dtypes} == {"float64"}
    assert list(known.columns) == [
        "session",
        "open",
        "high",
        "low",
        "close",
        "volume",
        "adj_close",
        "dividend",
        "split",
    ]


def test_a_change_of_currency_is_recorded() -> None:
    history = history_of(fetched_of(ROWS, currency="GBp"), fetched_of(ROWS, 1, day(ROWS, 20), currency="GBP"))
    (found,) = history.latest.restatements
    assert (found.kind, found.stored, found.found, found.rows) == ("currency", "GBp", "GBP", 4)
    assert facts_of(history).currency == "GBP"
    assert version_at(history, after(0.5)).currency == "GBp"


def test_the_first_requested_day_survives_pruning() -> None:
    first = day(ROWS, 4)
    history = history_of(
        fetched_of(ROWS, since=first), fetched_of(ROWS, 1, day(ROWS, 15)), fetched_of(ROWS, 2, day(ROWS, 20))
    )
    assert facts_of(history).requested_from == first
    assert facts_of(pruned(history, after(2))).requested_from == first
    whole = merged(history, fetched_of(ROWS, 3), keep_adj_close=False)
    assert facts_of(whole).requested_from is None
    assert whole.latest.restatements == ()  # older rows come that were never requested
    assert whole.latest.added == 4
    tail = merged(whole, fetched_of(ROWS, 4, day(ROWS, 20)), keep_adj_close=False)
    assert facts_of(tail).requested_from is None


def test_an_older_row_that_was_not_requested_is_a_restatement() -> None:
    history = history_of(fetched_of(ROWS.iloc[3:]), fetched_of(ROWS, 1))
    assert [(restatement.kind, restatement.rows) for restatement in history.latest.restatements] == [("sessions", 3)]


def test_a_history_without_versions_or_out_of_order_is_none() -> None:
    history = history_of(fetched_of(ROWS), fetched_of(ROWS, 1))
    for versions in ((), history.versions[::-1], history.versions[:1] * 2):
        with pytest.raises(ValueError, match="versions"):
            History(history.columns, versions)
    with pytest.raises(ValueError, match="current rows"):
        History(history.columns, (history.latest.model_copy(update={"rows": 3}),))


def test_times_are_utc_whatever_the_zone_of_the_fetch() -> None:
    zone = datetime.fromisoformat("2024-06-04T03:00:00+05:30").tzinfo
    history = history_of(FetchedRows(ROWS, None, "USD", after(0).astimezone(zone)))
    assert history.latest.known_at.utcoffset() == timedelta(0)
    assert history.latest.known_at == after(0)
    assert (all_rows(history)["known_from"] == pd.Timestamp(after(0).astimezone(UTC))).all()
