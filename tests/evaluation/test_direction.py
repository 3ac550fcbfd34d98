"""Learned class probabilities: scored as a slow twin does, on test rows alone, against what training rows say."""

import itertools
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from pipeline.dataset.folds import Fold
from pipeline.dataset.frames import Frames
from pipeline.errors import FitError
from pipeline.evaluation.direction import (
    SMALLEST,
    brier,
    class_frequencies,
    classes_of,
    direction_table,
    log_loss,
)
from pipeline.evaluation.significance.mean_test import long_lags
from pipeline.evaluation.significance.predictive_ability import diebold_mariano
from pipeline.experiment import Experiment
from pipeline.forecasters.recurrent.heads.empirical import class_of
from pipeline.forecasters.recurrent.specification import RecurrentSpec
from pipeline.training.fits import class_probabilities, fit
from pipeline.training.jobs import FitResult
from tests.panels import TINY, changed, fit_jobs, frames_from, jobs_for, random_market

FLAT = 0.4


def classifier(**network: object) -> Experiment:
    head = {"kind": "direction", "flat": FLAT}
    return changed(TINY, seeds=2, network=RecurrentSpec.model_validate({"hidden_size": 6, "head": head, **network}))


@pytest.fixture(scope="module")
def frames() -> Frames:
    return frames_from(random_market(700, 3))


@pytest.fixture(scope="module")
def results(frames: Frames, tmp_path_factory: pytest.TempPathFactory) -> list[FitResult]:
    jobs, _ = jobs_for(frames, classifier(), ("network", "ewma"))
    return fit_jobs(jobs, frames, tmp_path_factory.mktemp("fits"))


@pytest.fixture(scope="module")
def folds(frames: Frames) -> tuple[Fold, ...]:
    return jobs_for(frames, classifier())[1]


@pytest.fixture(scope="module")
def table(results: list[FitResult], folds: tuple[Fold, ...], frames: Frames) -> pd.DataFrame:
    found = direction_table(results, folds, frames)
    assert found is not None
    return found


def outcome_of(frames: Frames, ticker: int, origin: int, h: int) -> int | None:
    """0 down, 1 flat, 2 up; None where it is not known."""
    value = float(frames.future_return[ticker, origin, h])
    if not frames.usable[ticker, origin] or math.isnan(value):
        return None
    scaled = value / (float(frames.volatility[ticker, origin]) * math.sqrt(h + 1))
    return 2 if scaled > FLAT else 0 if scaled < -FLAT else 1


def shares_in_training(frames: Frames, fold: Fold, h: int) -> list[float]:
    """The classes' shares among the outcomes that are known before the training range ends, one of each added."""
    came = [
        outcome_of(frames, ticker, origin, h)
        for ticker in range(3)
        for origin in range(fold.train.start, fold.train.stop - h - 1)
    ]
    counts = [1 + came.count(k) for k in range(3)]
    return [count / sum(counts) for count in counts]


def losses_of(said: list[float], came: int) -> tuple[float, float]:
    return -math.log(said[came]), sum((share - (k == came)) ** 2 for k, share in enumerate(said))


def slow_scores(results: list[FitResult], folds: tuple[Fold, ...], frames: Frames, h: int) -> list[tuple[float, ...]]:
    """Log loss and Brier score of the mean of two networks, then of the frequencies, and the session of each row."""
    rows = []
    for fold in folds:
        shares, origins = shares_in_training(frames, fold, h), range(fold.test.start, fold.test.stop)
        fits = [one.fitted for one in results if one.job.fold == fold and one.job.forecaster.kind == "network"]
        said = [class_probabilities(one, frames, slice(origins.start, origins.stop)) for one in fits if one]
        first, second = said
        for ticker, (at, origin) in itertools.product(range(3), enumerate(origins)):
            came = outcome_of(frames, ticker, origin, h)
            if came is not None:
                mean = [(float(first[ticker, at, h, k]) + float(second[ticker, at, h, k])) / 2 for k in range(3)]
                rows.append((*losses_of(mean, came), *losses_of(shares, came), origin))
    return rows


@pytest.mark.parametrize("h", [0, 1])
def test_the_scores_equal_a_slow_twin(
    h: int, table: pd.DataFrame, results: list[FitResult], folds: tuple[Fold, ...], frames: Frames
) -> None:
    assert len(folds) == 2
    expected = slow_scores(results, folds, frames, h)
    row = table[table["horizon"] == h + 1].iloc[0]
    assert row["rows"] == len(expected) > 100
    found = [row[name] for name in ("log_loss", "brier", "log_loss_frequencies", "brier_frequencies")]
    assert found == pytest.approx(np.mean(expected, axis=0)[:4], rel=1e-5)
    by_session = pd.Series([one[0] - one[2] for one in expected]).groupby([one[4] for one in expected]).mean()
    test = diebold_mariano(by_session.to_numpy(), h + 1, long_lags(h + 1))
    assert row["dm_p"] == pytest.approx(test.p, rel=1e-4)


def test_a_network_that_knows_the_outcome_is_better_beyond_luck(
    table: pd.DataFrame, folds: tuple[Fold, ...], frames: Frames
) -> None:
    """One of its features is the outcome itself."""
    assert table["dm_p"].min() > 1e-6, "a few steps on random walks tell nothing like that"
    known = frames.feature_names.index(TINY.features[0])
    spoilt = np.array(frames.features)
    spoilt[..., known] = np.nan_to_num(frames.future_return[..., 0] / frames.volatility)
    telling = replace(frames, features=spoilt)
    schooled = changed(
        classifier(),
        seeds=1,
        training=TINY.training.model_copy(update={"min_steps": 60, "max_steps": 60, "learning_rate": 0.02}),
    )
    jobs, _ = jobs_for(telling, schooled)
    found = direction_table([FitResult(job, fit(job, telling)) for job in jobs], folds, telling)
    assert found is not None
    first = found.iloc[0]
    assert first["log_loss"] < 0.7 * first["log_loss_frequencies"]
    assert first["brier"] < 0.7 * first["brier_frequencies"]
    assert first["dm_p"] < 0.001


def test_frequencies_are_those_of_the_training_range_alone(
    results: list[FitResult], folds: tuple[Fold, ...], frames: Frames
) -> None:
    fold = folds[0]
    plain = direction_table(results, folds[:1], frames)
    assert plain is not None
    for part, is_equal in ((fold.validation, True), (fold.train, False)):
        other = replace(frames, future_return=np.array(frames.future_return))
        other.future_return[:, part.start : part.stop] = 1.0  # up, as far as it may be seen
        found = direction_table(results, folds[:1], other)
        assert found is not None
        assert found.equals(plain) == is_equal


def test_a_class_that_never_came_is_not_impossible() -> None:
    classes, known = np.array([[[0], [2], [2], [1]]]), np.array([[[True], [True], [True], [False]]])
    np.testing.assert_allclose(class_frequencies(classes, known), [[2 / 6, 1 / 6, 3 / 6]])


def test_classes_are_those_that_the_head_learns() -> None:
    values = np.array([-2.0, -FLAT, -0.1, 0.0, FLAT, FLAT + 1e-3, 3.0])
    np.testing.assert_array_equal(classes_of(values, FLAT), class_of(torch.from_numpy(values), FLAT).numpy())
    np.testing.assert_array_equal(classes_of(values, FLAT), [0, 1, 1, 1, 1, 2, 2])


def test_scores_of_a_sure_and_of_a_wrong_forecast() -> None:
    sure, wrong = np.array([[1.0, 0.0, 0.0]]), np.array([[0.0, 0.0, 1.0]])
    came = np.array([0])
    assert log_loss(sure, came)[0] == 0.0
    assert log_loss(wrong, came)[0] == pytest.approx(-math.log(SMALLEST))
    assert (brier(sure, came)[0], brier(wrong, came)[0]) == (0.0, 2.0)


def test_only_a_direction_head_has_classes(frames: Frames, tmp_path: Path) -> None:
    jobs, folds = jobs_for(frames, TINY, ("network", "ewma"), slice(0, 1))
    results = fit_jobs(jobs, frames, tmp_path)
    assert direction_table(results, folds, frames) is None
    fitted = next(one.fitted for one in results if one.job.forecaster.kind == "network")
    assert fitted is not None
    with pytest.raises(FitError, match="found the head quantiles where one with class probabilities was expected"):
        class_probabilities(fitted, frames, slice(400, 410))


def test_a_network_of_one_ticker_speaks_of_its_own(frames: Frames, tmp_path: Path) -> None:
    jobs, folds = jobs_for(frames, changed(classifier(scope="ticker"), seeds=1), folds=slice(0, 1))
    results = fit_jobs(jobs, frames, tmp_path)
    whole = direction_table(results, folds, frames)
    assert whole is not None
    swapped = [
        replace(one, fitted=replace(one.fitted, tickers=two.fitted.tickers))
        for one, two in zip(results, [*results[1:], results[0]], strict=True)
        if one.fitted and two.fitted
    ]
    other = direction_table(swapped, folds, frames)
    assert other is not None
    assert (whole["rows"] == other["rows"]).all()
    assert whole["log_loss"][0] != other["log_loss"][0]


def test_a_recursive_network_learns_the_classes_of_the_first_horizon(tmp_path: Path) -> None:
    head = {"kind": "direction", "flat": FLAT}
    spec = RecurrentSpec.model_validate(
        {"hidden_size": 6, "head": head, "horizon_mode": "recursive", "sampled_paths": 8}
    )
    recursive = changed(TINY, network=spec, features=("log_return", "volatility_5", "log_volatility"))
    own = frames_from(random_market(700, 3), recursive)
    jobs, folds = jobs_for(own, recursive, folds=slice(0, 1))
    found = direction_table(fit_jobs(jobs, own, tmp_path), folds, own)
    assert found is not None
    assert list(found["horizon"]) == [1]
