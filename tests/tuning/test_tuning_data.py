"""The tuning data: no test row is read, the loss equals a slow twin, and a run tests later rows only."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pipeline.dataset.folds import FoldSpec
from pipeline.dataset.frames import Frames
from pipeline.errors import UsageError
from pipeline.experiment import Experiment
from pipeline.forecasters.forecaster import LEVELS
from pipeline.forecasters.recurrent.specification import RecurrentSpec
from pipeline.forecasters.training_specification import TrainingSpec
from pipeline.stages import folds_of
from pipeline.training.cache import FitCache
from pipeline.training.jobs import FitJob, FitResult
from pipeline.training.schedule import fit_all
from pipeline.tuning.search import SearchInputs, search
from pipeline.tuning.space import Interval
from pipeline.tuning.study import open_study
from pipeline.tuning.tuning_data import (
    expected_loss,
    folds_after_tuning,
    mean_validation_pinball,
    refuse_unfair,
    total_trials,
    tuning_data_of,
    validation_quantiles,
)
from tests.panels import TINY, changed, fit_jobs, frames_from, jobs_for, random_market

from .small_studies import SHARED_SETTINGS, real_search, results_of, storage_in

ROWS = random_market()
EXPERIMENT = changed(TINY, folds=FoldSpec(refit_months=3, validation_months=3), seeds=2)


@pytest.fixture(scope="module")
def frames() -> Frames:
    return frames_from(ROWS, EXPERIMENT)


def after(day: np.datetime64) -> dict[str, object]:
    """The market with every row from a day on replaced by other valid ones."""
    draws = np.random.default_rng(99)
    changed_rows = {}
    for ticker, rows in ROWS.items():
        late = rows["session"].to_numpy().astype("datetime64[D]") >= day
        noise = np.exp(np.cumsum(draws.normal(0, 0.05, late.sum())))
        other = rows.copy()
        for name in ("open", "high", "low", "close", "adj_close"):
            other.loc[late, name] = rows.loc[late, name] * noise
        other.loc[late, "volume"] = np.round(rows.loc[late, "volume"] * draws.uniform(0.2, 5.0, late.sum()))
        changed_rows[ticker] = other
    return changed_rows


def test_no_row_that_a_run_tests_is_read(tmp_path: Path) -> None:
    frames, one_seed = frames_from(ROWS, EXPERIMENT, "adj_close"), changed(EXPERIMENT, seeds=1)
    trials, data = real_search(frames, tmp_path / "plain", 6, folds=3, base=one_seed)
    first_test = folds_of(frames, changed(EXPERIMENT, folds=folds_after_tuning(EXPERIMENT.folds, data)))[0].test.first
    assert data.until <= first_test
    other = frames_from(after(first_test), EXPERIMENT, "adj_close")
    assert not np.array_equal(other.log_return, frames.log_return, equal_nan=True)
    other_trials, other_data = real_search(other, tmp_path / "other", 6, folds=3, base=one_seed)
    assert results_of(other_trials) == results_of(trials)
    assert other_data.digest == data.digest
    # the check can fail: rows one week earlier change the trials
    earlier = frames_from(after(first_test - np.timedelta64(7, "D")), EXPERIMENT, "adj_close")
    changed_trials, _ = real_search(earlier, tmp_path / "earlier", 1, folds=3, base=one_seed)
    assert results_of(changed_trials)[0] != results_of(trials)[0]


@pytest.mark.parametrize("count", [1, 2, 3])
def test_a_run_tests_after_the_tuning_data_on_the_same_borders(count: int, frames: Frames) -> None:
    folds = folds_of(frames, EXPERIMENT)
    assert len(folds) > 3
    data = tuning_data_of(frames, folds, count)
    after_tuning = folds_of(frames, changed(EXPERIMENT, folds=folds_after_tuning(EXPERIMENT.folds, data)))
    assert after_tuning == folds[count - 1 :]
    assert all(fold.test.first >= data.until for fold in after_tuning)


def test_a_fixed_split_stays_as_it_is(frames: Frames) -> None:
    fixed = FoldSpec(train_end="2022-06-30", valid_end="2022-12-31")
    data = tuning_data_of(frames, folds_of(frames, changed(EXPERIMENT, folds=fixed)), 3)
    assert len(data.folds) == 1
    assert folds_after_tuning(fixed, data) == fixed


@pytest.mark.parametrize("at", [0, 1])  # of the first fold there are later labels, which must not count
def test_the_loss_equals_a_slow_twin(at: int, frames: Frames, tmp_path: Path) -> None:
    jobs, folds = jobs_for(frames, EXPERIMENT, folds=slice(0, 2))
    results = fit_jobs(jobs, frames, tmp_path)
    data, fold = tuning_data_of(frames, folds, 2), folds[at]
    fits = [result.fitted for result in results if result.job.fold == fold and result.fitted]
    assert len(fits) == 2
    by_seed = [validation_quantiles(fitted, data, fold) for fitted in fits]
    part, by_horizon = fold.validation, []
    for h in range(frames.horizons):
        losses = []
        for ticker in range(len(frames.tickers)):
            for origin in range(part.start, part.stop):
                if not frames.usable[ticker, origin] or origin + h + 1 >= part.stop:
                    continue
                outcome = float(frames.future_return[ticker, origin, h])
                if np.isnan(outcome):  # a gap of the ticker
                    continue
                for k, level in enumerate(LEVELS):
                    value = float(sum(quantiles[ticker, origin - part.start, h, k] for quantiles in by_seed)) / len(
                        by_seed
                    )
                    losses.append(max(level * (outcome - value), (level - 1) * (outcome - value)))
        by_horizon.append(np.mean(losses))
    assert mean_validation_pinball(by_seed, data, fold) == pytest.approx(float(np.mean(by_horizon)), rel=1e-6)


def test_a_loss_without_a_known_label_is_not_a_number(frames: Frames) -> None:
    folds = folds_of(frames, EXPERIMENT)
    data = tuning_data_of(replace(frames, usable=np.zeros_like(frames.usable)), folds, 1)
    origins = len(folds[0].validation)
    values = np.zeros((len(frames.tickers), origins, frames.horizons, len(LEVELS)), np.float32)
    assert np.isnan(mean_validation_pinball([values], data, folds[0]))


def test_the_expected_loss_is_relative_to_the_baseline() -> None:
    reference = (1.0, 4.0, 1.0)
    assert expected_loss([0.9, None, None], reference) == pytest.approx(0.9 * 2.0), "10 % below the baseline everywhere"
    assert expected_loss([None, 3.6, None], reference) == pytest.approx(0.9 * 2.0)
    assert expected_loss([0.9, 3.6, None], reference) == pytest.approx(0.9 * 2.0)
    assert expected_loss([0.9, 3.0, 1.2], reference) == pytest.approx(5.1 / 3), "once all are known, their mean"


def test_trials_of_earlier_searches_are_counted() -> None:
    assert total_trials(TINY, 30, base_is_tried=True) == 30
    assert total_trials(changed(TINY, trials=30), 30, base_is_tried=True) == 59, "the base was tried in both searches"


def test_a_base_outside_the_space_counts_only_where_an_earlier_search_tried_it() -> None:
    assert total_trials(TINY, 30, base_is_tried=False) == 30
    assert total_trials(changed(TINY, trials=30), 30, base_is_tried=False) == 60


def test_the_fits_are_those_of_a_run(frames: Frames, tmp_path: Path) -> None:
    one_seed = changed(EXPERIMENT, seeds=1)
    real_search(frames, tmp_path, 2, folds=2, base=one_seed)
    jobs, _ = jobs_for(frames, one_seed, ("network", "last_close"), slice(0, 2))
    kept = FitCache(tmp_path / "kept")
    assert all(result.cached for result in fit_all(jobs, tmp_path / "none", kept, 1)), "a run finds them again"


def test_trials_with_incompatible_values_fail_and_are_counted(tmp_path: Path, frames: Frames) -> None:
    space = {"training.min_steps": Interval(7, 9, whole=True), "network.hidden_size": Interval(2, 4, whole=True)}

    def broken(jobs: list[FitJob]) -> list[FitResult]:
        return [FitResult(job, None, f"no memory for {job.forecaster.kind}") for job in jobs]

    data = tuning_data_of(frames, folds_of(frames, EXPERIMENT), 2)
    inputs = SearchInputs(EXPERIMENT, data, "cpu", broken, (1.0, 1.0))  # type: ignore[arg-type]
    first = {"training.min_steps": 9, "network.hidden_size": 4}
    with open_study(storage_in(tmp_path), "s", space, SHARED_SETTINGS, first, 0) as study:
        *_, trials = search(study, inputs, 6)
    assert len(trials) == 6
    assert {trial.state for trial in trials} == {"failed"}
    assert "min_steps 9 must not exceed max_steps 8" in trials[0].error
    assert {trial.error for trial in trials if trial.values["training.min_steps"] < 9} == {"no memory for network"}


# --- What a search refuses, because its validation loss is not comparable ---


@pytest.mark.parametrize("kind", ["quantiles", "student_t", "mixture"])
def test_a_head_with_its_own_distribution_is_accepted(kind: str) -> None:
    refuse_unfair(Experiment(network=RecurrentSpec.model_validate({"head": {"kind": kind}})))


@pytest.mark.parametrize(
    ("experiment", "setting"),
    [
        (Experiment(network=RecurrentSpec.model_validate({"head": {"kind": "point"}})), r'head\.kind = "point"'),
        (
            Experiment(network=RecurrentSpec.model_validate({"head": {"kind": "direction"}})),
            r'head\.kind = "direction"',
        ),
        (Experiment(network=RecurrentSpec(scope="ticker")), r'network\.scope = "ticker"'),
        (Experiment(training=TrainingSpec(warm_start=True)), r"training\.warm_start = true"),
    ],
)
def test_a_network_that_is_fitted_on_the_validation_rows_is_refused(experiment: Experiment, setting: str) -> None:
    with pytest.raises(UsageError, match=setting):
        refuse_unfair(experiment)
