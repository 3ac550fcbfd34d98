"""Splits that are reported but not applied to the prices before them."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.market.bars import Severity
from pipeline.market.yahoo.actions import rows_as_traded, unapplied_splits
from tests.market.rows import good_rows, split_adjusted

PRICES = ["open", "high", "low", "close"]


def walk(splits: dict[int, float], count: int = 20, seed: int = 0) -> pd.DataFrame:
    """Rows as traded with splits on some days, on a walk whose days move by about a percent."""
    rows = good_rows(count, seed=seed).assign(split=1.0)
    draws = np.random.default_rng(seed)
    rows["split"] = [splits.get(at, 1.0) for at in range(count)]
    close = 100.0 * np.exp(np.cumsum(draws.normal(0, 0.01, count))) / np.cumprod(rows["split"])
    return rows.assign(open=close, high=close, low=close, close=close)


def as_reported(rows: pd.DataFrame, unapplied: set[int]) -> pd.DataFrame:
    """The rows as a vendor tells them who has not yet applied some of the splits, slowly."""
    applied = rows["split"].where(~rows.index.isin(sorted(unapplied)), 1.0)
    return split_adjusted(rows.assign(split=applied)).assign(split=rows["split"])


@settings(derandomize=True, deadline=None, max_examples=80)
@given(
    st.dictionaries(
        st.integers(1, 19), st.sampled_from([1.4, 1.5, 2.0, 3.0, 7.0, 20.0, 0.7, 0.5, 0.1, 0.04]), max_size=5
    ),
    st.integers(0, 2**20),
    st.integers(0, 2**16),
)
def test_whichever_were_applied_the_rows_are_as_traded(splits: dict[int, float], mask: int, seed: int) -> None:
    rows = walk(splits, seed=seed)
    unapplied = {at for order, at in enumerate(sorted(splits)) if mask >> order & 1}
    got, problems = rows_as_traded("AAPL", as_reported(rows, unapplied))
    np.testing.assert_allclose(got["close"], rows["close"], rtol=1e-9)
    np.testing.assert_allclose(got["volume"], rows["volume"], rtol=1e-9)
    np.testing.assert_array_equal(got["split"], rows["split"])
    assert [problem.rows for problem in problems] == sorted(unapplied)


def test_the_repair_says_what_was_found() -> None:
    rows = walk({10: 4.0})
    _, (problem,) = rows_as_traded("AAPL", as_reported(rows, {10}))
    assert (problem.ticker, problem.rule, problem.severity) == ("AAPL", "unapplied_split", Severity.REPAIRED)
    assert problem.session == str(rows["session"].iloc[10].date())
    assert problem.found.startswith("a split of 4 and the close going from ")


def test_a_crash_on_another_day_is_left_alone() -> None:
    rows = walk({10: 2.0})
    rows.loc[15:, PRICES] *= 0.5
    got, problems = rows_as_traded("AAPL", split_adjusted(rows))
    assert problems == ()
    np.testing.assert_allclose(got["close"], rows["close"], rtol=1e-12)


@pytest.mark.parametrize("move", [0.7, 0.85, 1.2, 1.5])
def test_a_large_move_on_the_day_of_an_applied_split_is_a_move(move: float) -> None:
    assert not unapplied_splits(np.array([100.0, 100.0 * move]), np.array([1.0, 2.0])).any()


@pytest.mark.parametrize("move", [0.86, 1.0, 1.16])
def test_an_unapplied_split_is_seen_through_a_move(move: float) -> None:
    assert unapplied_splits(np.array([100.0, 50.0 * move]), np.array([1.0, 2.0])).tolist() == [False, True]


def test_days_without_a_close_are_passed_over() -> None:
    close = np.array([100.0, np.nan, np.nan, 25.2])
    assert unapplied_splits(close, np.array([1.0, 1.0, 4.0, 1.0])).tolist() == [False, False, True, False]


@pytest.mark.parametrize(
    ("close", "split"),
    [
        ([], []),
        ([50.0], [2.0]),  # nothing before
        ([100.0, np.nan], [1.0, 2.0]),  # nothing after: reported before its day has a price
        ([np.nan, np.nan], [1.0, 2.0]),
        ([100.0, 90.0], [1.0, 1.1]),  # too small to be distinguished from a day's move
        ([100.0, 50.0], [1.0, 0.0]),
        ([100.0, 50.0], [1.0, np.nan]),
        ([100.0, 50.0], [1.0, np.inf]),
        ([100.0, 50.0], [1.0, -2.0]),
        ([0.0, 50.0], [1.0, 2.0]),
    ],
)
def test_where_nothing_can_be_said_the_split_is_taken_as_reported(close: list[float], split: list[float]) -> None:
    assert not unapplied_splits(np.array(close), np.array(split)).any()
