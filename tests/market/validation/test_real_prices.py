"""Validation of real prices: it flags what is known to be wrong, nothing else, and finds planted splits."""

import functools

import numpy as np
import pandas as pd
import pytest

from pipeline.market.bars import ReturnsFrom, Severity, ValidatedBars
from pipeline.market.in_memory import open_sample
from pipeline.market.validation.validate import ValidationTerms, load_bars, validate
from tests.market.rows import NOW, SHARED, good_rows

LARGE = SHARED / "us_core100_daily_1999_2021.parquet"
needs_large = pytest.mark.skipif(not LARGE.exists(), reason=f"the large real data is not there: {LARGE}")

PRICES = ["open", "high", "low", "close"]
WRONG = {("ABT", "2004-05-03"), ("JCI", "2007-07-02"), ("RTX", "2020-04-03")}
CAUGHT_AT_LEAST = 0.9


@functools.cache
def _large() -> dict[str, pd.DataFrame]:
    frame = pd.read_parquet(LARGE).rename(columns={"date": "session"})
    return {str(name): rows.drop(columns="ticker") for name, rows in frame.groupby("ticker", observed=True)}


def _validate(rows: dict[str, pd.DataFrame], returns_from: ReturnsFrom = "adj_close") -> ValidatedBars:
    return validate(dict(rows), ValidationTerms(returns_from, True, NOW, 400))


@needs_large
@pytest.mark.parametrize("returns_from", ["adj_close", "actions"])
def test_a_hundred_real_stocks_pass_but_for_three_rows(returns_from: ReturnsFrom) -> None:
    validated = _validate(_large(), returns_from)
    assert validated.excluded == ()
    assert len(validated.bars.frame) == sum(len(rows) for rows in _large().values())
    problem_rows = {(problem.ticker, problem.session, problem.rows) for problem in validated.problems}
    assert {(ticker, day) for ticker, day, rows in problem_rows} == WRONG
    vendor = [problem for problem in validated.problems if problem.rule == "vendor_adjustment"]
    assert {(problem.ticker, problem.session) for problem in vendor} == WRONG
    others = {(problem.rule, problem.severity) for problem in validated.problems if problem not in vendor}
    expected = {
        "adj_close": {("doubtful_dividend", Severity.NOTE)},
        "actions": {("phantom_dividend", Severity.REPAIRED)},
    }
    assert others == expected[returns_from]
    assert all(problem.rows == 1 for problem in validated.problems)


@needs_large
def test_the_one_dividend_reported_in_new_shares_is_restated_to_the_vendor_s_return() -> None:
    frame = _validate({"JCI": _large()["JCI"]}, "actions").bars.frame
    row = int(np.flatnonzero(frame["session"] == pd.Timestamp("2007-07-02"))[0])
    now, former = frame.iloc[row], frame.iloc[row - 1]
    ours = (now["close"] * now["split"] + now["dividend"]) / former["close"]
    assert ours == pytest.approx(now["adj_close"] / former["adj_close"], abs=1e-3)


@needs_large
@pytest.mark.parametrize("ratio", [2.0, 3.0, 4.0, 10.0, 0.1])
@pytest.mark.parametrize("volume_in_old_shares", [True, False])
def test_nearly_all_splits_that_nobody_reported_are_caught_at_their_row(
    ratio: float, volume_in_old_shares: bool
) -> None:
    draws = np.random.default_rng(7)
    planted, at = {}, {}
    for name, rows in _large().items():
        at[name] = int(draws.integers(60, len(rows) - 60))
        planted[name] = _unrecorded(rows, at[name], ratio, volume_in_old_shares)
    validated = validate(dict(planted), ValidationTerms("actions", True, NOW, 1))
    lengths = validated.bars.frame.groupby("ticker").size()
    caught = [lengths[name] == row for name, row in at.items()]
    assert np.mean(caught) >= CAUGHT_AT_LEAST
    ended = {problem.ticker for problem in validated.problems if problem.rule == "unrecorded_split"}
    assert ended == {name for name, hit in zip(at, caught, strict=True) if hit}


def _unrecorded(rows: pd.DataFrame, at: int, ratio: float, volume_in_old_shares: bool) -> pd.DataFrame:
    later = np.arange(len(rows)) >= at
    planted = rows.assign(**{name: np.where(later, rows[name] / ratio, rows[name]) for name in PRICES})
    shares = 1.0 if volume_in_old_shares else ratio
    return planted.assign(volume=np.where(later, rows["volume"] * shares, rows["volume"]))


@needs_large
def test_every_real_split_is_missed_when_it_is_not_reported() -> None:
    """The splits of the file with their record taken away: jumps as they really look."""
    cases = [
        (name, int(row))
        for name, rows in _large().items()
        for row in np.flatnonzero(rows["split"].to_numpy() >= 1.9)
        if row > 30
    ]
    caught = [_is_caught(*case) for case in cases]
    assert len(cases) > 80
    assert np.mean(caught) >= CAUGHT_AT_LEAST


def _is_caught(name: str, row: int) -> bool:
    rows = _large()[name].iloc[row - 30 : row + 1].assign(split=1.0)
    return bool(validate({name: rows}, ValidationTerms("actions", True, NOW, 1)).excluded)


def test_the_bundled_sample_has_no_finding() -> None:
    validated = load_bars(open_sample(), [], NOW, 40)
    assert (validated.problems, validated.excluded) == ((), ())
    assert len(validated.bars.frame) == sum(len(open_sample().rows(name)) for name in open_sample().tickers())


@needs_large
def test_a_series_shifted_by_a_day_is_caught_within_a_month() -> None:
    shifted = {
        f"{name}": rows.assign(session=rows["session"] + pd.Timedelta(days=days))
        for name, rows in list(_large().items())[:10]
        for days in (1,)
    }
    validated = validate(dict(shifted), ValidationTerms("adj_close", True, NOW, 1))
    assert len(validated.excluded) == 10
    assert validated.bars.frame.groupby("ticker").size().max() < 21


def test_it_is_the_same_in_one_go_and_one_by_one() -> None:
    rows = {f"T{k}": good_rows(seed=k) for k in range(5)}
    rows["T3"].loc[12, "close"] = -1.0
    terms = ValidationTerms("actions", True, NOW, 1)
    together = validate(dict(rows), terms)
    alone = [validate({name: single}, terms) for name, single in rows.items()]
    pd.testing.assert_frame_equal(
        together.bars.frame, pd.concat([single.bars.frame for single in alone], ignore_index=True)
    )
    assert together.problems == tuple(problem for single in alone for problem in single.problems)
