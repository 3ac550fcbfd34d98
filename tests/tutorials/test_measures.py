"""Measures against slow twins, on forecasts made by hand."""

from dataclasses import replace

import numpy as np
import pytest

from pipeline.evaluation.scores import score_table
from pipeline.forecasters.forecaster import LEVELS, MEDIAN
from pipeline.forecasting.backtest import Backtest
from pipeline.forecasting.forecasts import NETWORK
from pipeline.tutorials import toys
from pipeline.tutorials.lesson import Lesson
from pipeline.tutorials.measures import LAST_CLOSE, accuracy, classes, nll, rmse, with_last_close
from pipeline.tutorials.ohlc import OhlcTerms, levels_of


def made(lesson: Lesson, error: float) -> Backtest:
    """A backtest whose median misses every value by an error, in the units that the network is given."""
    fold, frames = lesson.fold, lesson.frames
    part = slice(fold.test.start, fold.test.stop)
    usable = frames.usable[:, part, None]
    came = np.where(usable, frames.future_return[:, part], np.float32(np.nan))
    root = np.sqrt(np.arange(1, frames.horizons + 1))
    median = came + error * root
    values = np.repeat(median[..., None], len(LEVELS), axis=-1) + (np.arange(len(LEVELS)) - MEDIAN) * 0.01
    count = part.stop - part.start
    return Backtest(
        tickers=frames.tickers,
        sessions=frames.sessions[part],
        fold_names=("only",),
        fold_of_origin=np.zeros(count, dtype=np.int64),
        quantiles={NETWORK: values.astype(np.float32)},
        realised=came,
        reference_close=frames.reference_close[:, part],
        target_sessions=np.full((count, frames.horizons), np.datetime64("NaT")),
    )


def test_the_error_is_in_the_numbers_own_units_at_every_horizon() -> None:
    lesson = toys.numbers(0)
    scores = score_table(made(lesson, 0.2))
    assert rmse(scores, lesson, NETWORK, lesson.judged) == pytest.approx(0.2 * toys.UNIT, rel=1e-5)


def test_the_last_close_errs_by_the_change_of_the_price() -> None:
    lesson = levels_of(OhlcTerms(), "one_to_many")
    scores = score_table(with_last_close(made(lesson, 0.0), lesson))
    close, start = lesson.frames.reference_close[0], lesson.fold.test.start
    slow = [np.mean((close[start + h :] - close[start:-h]) ** 2) * len(close[start + h :]) for h in range(1, 6)]
    rows = sum(len(close[start + h :]) for h in range(1, 6))
    assert rmse(scores, lesson, LAST_CLOSE, lesson.judged) == pytest.approx(np.sqrt(sum(slow) / rows), rel=1e-4)


def test_without_a_last_close_nothing_is_added() -> None:
    lesson = replace(toys.numbers(0), last_close=None)
    assert set(with_last_close(made(lesson, 0.0), lesson).quantiles) == {NETWORK}


def test_classes_likelihood_and_accuracy_against_slow_twins() -> None:
    draws = np.random.default_rng(1)
    values = draws.normal(size=50)
    values[:2] = (0.25, -0.25)  # the edges belong to flat
    which = classes(values, 0.25)
    assert which.tolist() == [0 if v < -0.25 else 2 if v > 0.25 else 1 for v in values]
    chances = draws.dirichlet(np.ones(3), size=50)
    assert nll(chances, which) == pytest.approx(
        np.mean([-np.log(row[k]) for row, k in zip(chances, which, strict=True)])
    )
    assert accuracy(chances, which) == np.mean(
        [int(np.argmax(row)) == k for row, k in zip(chances, which, strict=True)]
    )
