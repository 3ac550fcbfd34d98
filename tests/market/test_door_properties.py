"""Properties of the door over spoilt frames: it never crashes, never passes a broken contract, and is causal."""

import numpy as np
import pandas as pd
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pipeline.market.bars import COLUMNS, Admitted
from pipeline.market.door import admit

from .rows import NOW, good_rows

CELLS = st.one_of(
    st.sampled_from([None, np.nan, np.inf, -np.inf, 0, -1, 1e-320, 1e308, "", "abc", "1,5", "12.5", "1e400", True]),
    st.floats(allow_nan=True, allow_infinity=True),
    st.floats(90, 110),  # a plausible price in a wrong place
    st.integers(),
    st.text(max_size=5),
    st.just([1]),
    st.just(10**400),
)
DATES = st.one_of(
    st.sampled_from(
        [None, "", "2024-02-30", "2024-02-15", "2024-02-15 00:00:00-05:00", "2024-02-15T00:00Z", "9999-12-31"]
    ),
    st.builds("2024-02-{:02d} 00:00:00{:+03d}:00".format, st.integers(1, 29), st.integers(-8, 8)),
    st.dates(),
    st.datetimes(),
    st.datetimes(timezones=st.timezones()),
    st.text(max_size=12),
)
FIELDS = st.sampled_from(COLUMNS[2:])
SPOILT_CELL = st.tuples(FIELDS, st.integers(0, 19), CELLS)
SPOILT_DATE = st.tuples(st.just("session"), st.integers(0, 19), DATES)
MUTATIONS = st.lists(st.one_of(SPOILT_CELL, SPOILT_DATE), max_size=4)
ORDERS = st.one_of(st.just(list(range(20))), st.lists(st.integers(0, 19), max_size=25), st.permutations(range(20)))


def _mutated(mutations: list[tuple[str, int, object]], order: list[int], written: str | None) -> pd.DataFrame:
    rows = good_rows(20)
    if written:
        rows = rows.assign(session=rows["session"].dt.strftime(written))
    for name, row, value in mutations:
        column = rows[name].astype(object)
        column.at[row] = value
        rows[name] = column
    return rows.iloc[order].reset_index(drop=True)


WRITTEN = st.sampled_from([None, "%Y-%m-%d", "%Y-%m-%d 00:00:00-05:00"])
FRAMES = st.builds(_mutated, MUTATIONS, ORDERS, WRITTEN)


def _admit(rows: pd.DataFrame) -> Admitted:
    return admit({"AAPL": rows}, "adj_close", NOW, minimum_sessions=1)


def _check_contract(frame: pd.DataFrame) -> None:
    """The contract once more, row by row and slowly."""
    previous = pd.Timestamp.min
    for row in frame.itertuples():
        assert previous < row.session <= pd.Timestamp("2024-12-30")
        previous = row.session
        for name in ("open", "high", "low", "close", "adj_close", "split"):
            assert 0 < getattr(row, name) < np.inf
        assert 0 <= row.volume < np.inf
        assert 0 <= row.dividend < np.inf
        assert row.high >= max(row.open, row.close, row.low) * (1 - 1e-6)
        assert row.low <= min(row.open, row.close, row.high) * (1 + 1e-6)


@settings(max_examples=250, deadline=None, derandomize=True)
@given(FRAMES)
def test_no_frame_crashes_the_door_or_passes_with_a_broken_contract(rows: pd.DataFrame) -> None:
    admitted = _admit(rows)
    assert tuple(admitted.bars.frame.columns) == COLUMNS
    _check_contract(admitted.bars.frame)
    fatal = [problem for problem in admitted.problems if problem.fatal]
    assert bool(fatal) <= bool(admitted.left_out)
    assert all(str(problem) for problem in admitted.problems)


@settings(max_examples=250, deadline=None, derandomize=True)
@given(FRAMES, st.integers(1, 25))
@example(_mutated([("session", 9, "2024-02-14 00:00:00+05:30")], list(range(20)), "%Y-%m-%d 00:00:00-05:00"), 5)
@example(_mutated([], [0, 1, 2, 9, 3, 4], "%Y-%m-%d"), 5)
def test_what_comes_later_changes_nothing_that_was_admitted(rows: pd.DataFrame, known: int) -> None:
    now, then = _admit(rows).bars.frame, _admit(rows.iloc[:known]).bars.frame
    pd.testing.assert_frame_equal(then, now.iloc[: len(then)])
    after = now.iloc[len(then) :]
    assert len(after) <= len(rows.iloc[known:])
    assert then.empty or after.empty or after["session"].min() > then["session"].max()


@settings(max_examples=150, deadline=None, derandomize=True)
@given(st.dictionaries(st.text(max_size=40), st.just(good_rows(20)), max_size=5))
def test_no_ticker_name_crashes_the_door(rows: dict[str, pd.DataFrame]) -> None:
    admitted = admit(dict(rows), "close", NOW, minimum_sessions=1)
    assert len(admitted.bars.tickers) + len(admitted.left_out) == len(rows)
    assert all(out.ticker.isprintable() for out in admitted.left_out)
