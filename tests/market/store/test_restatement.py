"""Rows that a later fetch restates: every kind is named, and rounding is no restatement."""

from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.errors import SourceUnavailableError
from pipeline.market.bars import PRICES
from pipeline.market.store.restatement import calls_for_whole_history, compare
from tests.market.rows import good_rows
from tests.market.store.made import day

ROWS = good_rows(30)
Spoil = Callable[[pd.DataFrame], pd.DataFrame]


def changed(name: str, at: int, factor: float) -> Spoil:
    def spoil(rows: pd.DataFrame) -> pd.DataFrame:
        return rows.assign(**{name: rows[name].where(rows.index != at, rows[name] * factor)})

    return spoil


def put(name: str, at: int, value: float) -> Spoil:
    def spoil(rows: pd.DataFrame) -> pd.DataFrame:
        return rows.assign(**{name: rows[name].where(rows.index != at, value)})

    return spoil


def times_before(at: int, factor: float, names: tuple[str, ...] = PRICES) -> Spoil:
    def spoil(rows: pd.DataFrame) -> pd.DataFrame:
        return rows.assign(**{name: rows[name].where(rows.index >= at, rows[name] * factor) for name in names})

    return spoil


def without(at: int) -> Spoil:
    return lambda rows: rows.drop(index=at)


def kinds(stored: pd.DataFrame, reported: pd.DataFrame) -> list[tuple[str, int, int]]:
    """Each restatement's kind, row number of its first session, and count of rows."""
    every = sorted({*stored["session"], *reported["session"]})
    return [
        (restatement.kind, every.index(pd.Timestamp(restatement.first_session)), restatement.rows)
        for restatement in compare(stored, reported)
    ]


@pytest.mark.parametrize(
    ("spoil", "expected"),
    [
        (changed("close", 12, 1.01), [("prices", 12, 1)]),
        (changed("low", 29, 1 + 2e-6), [("prices", 29, 1)]),
        (put("high", 5, np.nan), [("prices", 5, 1)]),
        (put("high", 5, np.inf), [("prices", 5, 1)]),
        (changed("volume", 29, 1.3), [("volume", 29, 1)]),
        (put("volume", 0, 0.0), [("volume", 0, 1)]),
        (put("dividend", 7, 0.25), [("dividend", 7, 1)]),
        (changed("dividend", 10, 1.001), [("dividend", 10, 1)]),
        (put("split", 8, 2.0), [("split", 8, 1)]),
        (times_before(14, 0.25), [("split", 0, 14)]),
        (times_before(14, 20.0), [("split", 0, 14)]),
        (times_before(14, 0.25, ("open", "close")), [("prices", 0, 14)]),
        (lambda rows: times_before(14, 0.5)(changed("close", 3, 1.01)(rows)), [("prices", 0, 14)]),
        (lambda rows: times_before(14, 0.5)(changed("close", 20, 1.01)(rows)), [("prices", 0, 15)]),
        (lambda rows: put("split", 14, 2.0)(times_before(14, 2.0)(rows)), [("split", 0, 14), ("split", 14, 1)]),
        (changed("adj_close", 4, 0.99), [("adj_close", 4, 1)]),
        (times_before(30, 0.99, ("adj_close",)), [("adj_close", 0, 30)]),
        (without(11), [("sessions", 11, 1)]),
        (without(28), [("sessions", 28, 1)]),
        (without(29), []),  # the source is late
        (lambda rows: changed("volume", 2, 2.0)(changed("close", 2, 2.0)(rows)), [("prices", 2, 1)]),
    ],
)  # fmt: skip
def test_every_kind_of_difference_is_named(spoil: Spoil, expected: list[tuple[str, int, int]]) -> None:
    found = compare(ROWS, spoil(ROWS))
    assert kinds(ROWS, spoil(ROWS)) == expected
    assert all(
        restatement.found and restatement.stored and restatement.found != restatement.stored for restatement in found
    )


@pytest.mark.parametrize(
    "spoil",
    [
        lambda rows: rows,
        lambda rows: rows.astype(dict.fromkeys(PRICES, "float32")).astype(dict.fromkeys(PRICES, "float64")),
        changed("close", 3, 1 + 9e-7),
        lambda rows: rows.assign(volume=rows["volume"] + 1.0),
        changed("dividend", 10, 1 + 9e-6),
    ],
)
def test_rounding_is_no_restatement(spoil: Spoil) -> None:
    assert compare(ROWS, spoil(ROWS)) == ()


def test_a_tail_that_goes_on_is_no_restatement() -> None:
    assert compare(ROWS.iloc[:20], ROWS.iloc[10:]) == ()
    assert compare(ROWS.iloc[:20], ROWS.iloc[10:], since=day(ROWS, 10)) == ()


def test_a_session_between_stored_ones_is_a_restatement() -> None:
    assert kinds(ROWS.drop(index=15).iloc[:25], ROWS.iloc[10:]) == [("sessions", 15, 1)]


def test_a_stored_session_before_the_first_reported_one_is_missing_where_it_was_requested() -> None:
    tail = ROWS.iloc[12:]
    assert compare(ROWS, tail) == ()
    (missed,) = compare(ROWS, tail, since=day(ROWS, 10))
    assert (missed.kind, missed.first_session, missed.rows) == ("sessions", day(ROWS, 10), 2)


def test_unknown_numbers_on_both_sides_are_the_same() -> None:
    blank = put("volume", 4, np.nan)(ROWS)
    assert compare(blank, blank) == ()
    assert [restatement.kind for restatement in compare(blank, ROWS)] == ["volume"]


@pytest.mark.parametrize("kind", ["split", "dividend", "prices", "sessions", "adj_close", "currency"])
def test_all_but_volume_calls_for_the_whole_history(kind: str) -> None:
    (volume,) = compare(ROWS, changed("volume", 29, 1.3)(ROWS))
    assert not calls_for_whole_history(())
    assert not calls_for_whole_history((volume,))
    assert calls_for_whole_history((volume, volume.model_copy(update={"kind": kind})))


@pytest.mark.parametrize(
    ("spoil", "found"),
    [
        (lambda rows: rows.iloc[:0], "without rows"),
        (lambda rows: rows.drop(columns="split"), "without split"),
        (lambda rows: rows.iloc[::-1], "out of order"),
        (lambda rows: rows.iloc[[0, 0, 1]], "repeated"),
        (lambda rows: rows.assign(session=rows["session"] + pd.Timedelta(hours=5)), "time of day"),
        (lambda rows: rows.assign(session=rows["session"].dt.tz_localize("UTC")), "time zone"),
        (lambda rows: rows.assign(session=rows["session"].astype(str)), "sessions of type"),
        (lambda rows: rows.assign(session=rows["session"].where(rows.index != 3)), "out of order"),
        (lambda rows: rows.assign(close="12"), "close of type"),
    ],
)
def test_an_answer_of_another_shape_is_refused(spoil: Spoil, found: str) -> None:
    with pytest.raises(SourceUnavailableError, match=found):
        compare(ROWS, spoil(ROWS))


NUMBERS = st.one_of(st.floats(), st.sampled_from([0.0, -0.0, 1.0, 1 + 1e-7, 100.0, 1e308, -1e308]))


@settings(max_examples=300, derandomize=True, deadline=None)
@given(st.lists(st.tuples(NUMBERS, NUMBERS), min_size=1, max_size=8), st.sampled_from(["close", "volume", "dividend"]))
def test_the_tolerance_is_that_of_a_slow_twin_on_any_numbers(pairs: list[tuple[float, float]], name: str) -> None:
    stored, reported = (ROWS.iloc[: len(pairs)].assign(**{name: [pair[k] for pair in pairs]}) for k in (0, 1))
    found = compare(stored, reported)
    expected = sum(not _same_slowly(before, now, name) for before, now in pairs)
    assert sum(restatement.rows for restatement in found) == expected


def _same_slowly(before: float, now: float, name: str) -> bool:
    if before == now or (np.isnan(before) and np.isnan(now)):
        return True
    if not np.isfinite(now - before):
        return False
    relative = 1e-5 if name == "dividend" else 1e-6
    return abs(now - before) <= relative * max(abs(before), abs(now)) + (1.0 if name == "volume" else 0.0)
