"""Lifetimes: what goes is decided on values alone, and what the ledger's last entries need stays."""

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from pipeline.operation.ledger.entries import Entry
from pipeline.operation.lifetimes import (
    Lifetimes,
    Needed,
    StoredRun,
    cutoff,
    expired_day_files,
    expired_runs,
    expired_states,
    needed_by,
)
from pipeline.operation.model import BacktestReference
from tests.operation.ledger.issued import provenance

NOW = datetime(2026, 1, 1, tzinfo=UTC)
OLD, NEW = NOW - timedelta(days=400), NOW - timedelta(days=1)


def entry(sequence: int, at: datetime, calendar: str = "XNYS", version: int = 1) -> Entry:
    digest = f"{sequence:012d}" + "0" * 52
    known = replace(
        provenance(calendar=calendar, version=version, calibration_digest=digest),
        backtest=BacktestReference(date(2020, 1, 1), "Better.", f"run-{version}"),
    )
    return Entry(sequence, "d" * 64, known, at, 1, at.date(), at.date())


def digest_of(*sequences: int) -> frozenset[str]:
    return frozenset(f"{sequence:012d}" for sequence in sequences)


def test_the_entry_before_the_first_one_kept_is_needed_too() -> None:
    """A replay of entry 3 begins with the state after entry 2."""
    entries = [entry(1, OLD, version=1), entry(2, OLD, version=2), entry(3, NEW, version=3)]
    assert needed_by(entries, NOW - timedelta(days=30)) == Needed(
        frozenset({2, 3}), digest_of(2, 3), frozenset({"run-2", "run-3"})
    )


def test_the_last_entry_of_every_calendar_is_needed_however_old() -> None:
    entries = [entry(1, OLD, "XLON", 1), entry(2, OLD, "XNYS", 2), entry(3, OLD, "XNYS", 3)]
    assert needed_by(entries, NOW) == Needed(frozenset({1, 3}), digest_of(1, 3), frozenset({"run-1", "run-3"}))
    assert needed_by([], NOW) == Needed()


@given(
    st.lists(st.tuples(st.sampled_from(["XNYS", "XLON", "24/7"]), st.integers(0, 500)), max_size=12),
    st.integers(0, 500),
)
def test_needed_is_what_a_slow_twin_says(issued: list[tuple[str, int]], keep_days: int) -> None:
    ages = sorted((age for _, age in issued), reverse=True)  # the chain is in the order of time
    entries = [
        entry(k + 1, NOW - timedelta(days=age), calendar, k + 1)
        for k, ((calendar, _), age) in enumerate(zip(issued, ages, strict=True))
    ]
    since = NOW - timedelta(days=keep_days)
    slow = set()
    for it in entries:
        later = [other for other in entries if other.sequence > it.sequence]
        following = [other for other in later if other.provenance.calendar == it.provenance.calendar]
        if it.issued_at >= since or not following or following[0].issued_at >= since:
            slow.add(it.provenance.version)
    assert needed_by(entries, since).versions == slow


def test_states_of_old_sessions_go_unless_an_entry_has_their_digest() -> None:
    names = ("2020-01-02-aaaaaaaaaaaa", "2020-01-03-bbbbbbbbbbbb", "2025-12-31-cccccccccccc", "notes")
    paths = [Path(f"{name}.safetensors") for name in names]
    assert expired_states(paths, NEW, {"bbbbbbbbbbbb"}) == paths[:1]


def test_the_newest_day_of_each_calendar_stays() -> None:
    names = ("2020-01-02-XNYS", "2020-01-03-XNYS", "2025-12-31-XNYS", "2020-01-02-XLON", "2020-01-03-XLON", "readme")
    paths = [Path(f"{name}.json") for name in names]
    assert {path.stem for path in expired_day_files(paths, NEW)} == {
        "2020-01-02-XNYS",
        "2020-01-03-XNYS",
        "2020-01-02-XLON",
    }


@pytest.mark.parametrize(
    ("runs", "needed", "gone"),
    [
        ([StoredRun("a", OLD), StoredRun("b", NEW)], (), "a"),
        ([StoredRun("a", OLD), StoredRun("a1", OLD, parent="a"), StoredRun("a2", OLD, parent="a1")], (), "a a1 a2"),
        ([StoredRun("a", OLD), StoredRun("a1", OLD, parent="a"), StoredRun("b", OLD)], ("a1",), "b"),
        ([StoredRun("a", OLD, record="rec"), StoredRun("a1", OLD, parent="a"), StoredRun("b", OLD)], ("rec",), "b"),
        ([StoredRun("a", OLD), StoredRun("a1", NEW, parent="a")], (), ""),
        ([StoredRun("a", OLD, running=True), StoredRun("a1", OLD, parent="a")], (), ""),
        ([StoredRun("a", OLD), StoredRun("a1", OLD, running=True, parent="a")], (), ""),
        ([StoredRun("a1", OLD, parent="gone")], (), "a1"),
        ([StoredRun("a1", OLD, parent="gone")], ("gone",), ""),
    ],
)
def test_a_run_goes_with_all_below_it_or_not_at_all(runs: list[StoredRun], needed: tuple[str, ...], gone: str) -> None:
    assert " ".join(run.id for run in expired_runs(runs, NOW - timedelta(days=30), needed)) == gone


def test_no_lifetime_is_shorter_than_a_run() -> None:
    assert cutoff(NOW, 2) == NOW - timedelta(days=2)
    for days in (1, 0, -5, 1.5, None):
        with pytest.raises(ValidationError):
            Lifetimes.model_validate({"fits_days": days})
    with pytest.raises(ValidationError):
        Lifetimes.model_validate({"prices_days": 30})
