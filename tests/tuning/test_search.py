"""The search on a small simulated market: every trial is validated by all its fits, and a bad one is pruned early."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from pipeline.dataset.folds import FoldSpec
from pipeline.dataset.frames import Frames, save_frames
from pipeline.stages import folds_of
from pipeline.training.cache import FitCache
from pipeline.training.fits import fit
from pipeline.training.jobs import FitJob, FitResult
from pipeline.training.schedule import fit_all
from pipeline.tuning.search import FitFunction, search, search_inputs
from pipeline.tuning.space import Choices, with_values
from pipeline.tuning.study import TRIALS_AT_ONCE, open_study
from pipeline.tuning.trial import Trial
from pipeline.tuning.tuning_data import mean_validation_pinball, tuning_data_of, validation_quantiles
from tests.panels import TINY, changed, frames_from, jobs_for, random_market

from .small_studies import SHARED_SETTINGS, real_search, storage_in

EXPERIMENT = changed(TINY, folds=FoldSpec(refit_months=3, validation_months=3))


@pytest.fixture(scope="module")
def frames() -> Frames:
    return frames_from(random_market(), EXPERIMENT)


def fit_function(folder: Path, fitted_jobs: list[FitJob]) -> FitFunction:
    """A function that fits jobs on the frames of a folder and adds them to a list."""

    def fit_them(jobs: Sequence[FitJob]) -> list[FitResult]:
        fitted_jobs.extend(jobs)
        return list(fit_all(jobs, folder / "frames", FitCache(folder / "kept"), 1))

    return fit_them


def test_the_reference_is_the_last_close_on_each_fold_by_itself(frames: Frames, tmp_path: Path) -> None:
    data = tuning_data_of(frames, folds_of(frames, EXPERIMENT), 3)
    save_frames(data.frames, tmp_path / "frames")
    reference = search_inputs(EXPERIMENT, data, "cpu", fit_function(tmp_path, [])).reference
    expected = []
    for fold in data.folds:
        (job,) = [candidate for candidate in jobs_for(frames, EXPERIMENT, ("last_close",))[0] if candidate.fold == fold]
        expected.append(mean_validation_pinball([validation_quantiles(fit(job, frames), data, fold)], data, fold))
    assert reference == tuple(expected)
    assert len(set(reference)) == 3, "the folds differ in volatility"


def test_a_trial_is_validated_by_the_mean_of_different_seeds(frames: Frames, tmp_path: Path) -> None:
    base = changed(EXPERIMENT, seeds=2, seed=5)
    (trial,), data = real_search(frames, tmp_path, 1, folds=2, base=base)
    jobs, folds = jobs_for(frames, with_values(base, trial.values), folds=slice(0, 2))
    for at, fold in enumerate(folds):
        fits = [fit(job, frames) for job in jobs if job.fold == fold]
        assert [job.seed for job in jobs if job.fold == fold] == [5, 6]
        by_seed = [validation_quantiles(fitted, data, fold) for fitted in fits]
        assert not np.array_equal(by_seed[0], by_seed[1], equal_nan=True)
        assert trial.losses[at] == pytest.approx(mean_validation_pinball(by_seed, data, fold), rel=1e-9)
        assert trial.losses[at] != pytest.approx(mean_validation_pinball(by_seed[:1] * 2, data, fold), rel=1e-6)


def test_a_trial_above_the_median_of_those_before_costs_no_further_fit(frames: Frames, tmp_path: Path) -> None:
    """A learning rate near zero leaves a network untrained: worse than five trained ones."""
    data = tuning_data_of(frames, folds_of(frames, EXPERIMENT), 3)
    save_frames(data.frames, tmp_path / "frames")
    fitted_jobs: list[FitJob] = []
    inputs = search_inputs(EXPERIMENT, data, "cpu", fit_function(tmp_path, fitted_jobs))
    space = {"training.learning_rate": Choices((1e-9, 4e-3, 8e-3)), "network.hidden_size": Choices((4, 6, 8))}
    first = {"training.learning_rate": 4e-3, "network.hidden_size": 6}
    with open_study(storage_in(tmp_path), "s", space, SHARED_SETTINGS, first, 3) as study:
        *_, trials = search(study, inputs, 15)
    pruned = [trial for trial in trials if trial.state == "pruned"]
    assert len(pruned) >= 2
    assert {trial.state for trial in trials[:TRIALS_AT_ONCE]} == {"complete"}, "there is no median before them"
    for pruned_trial in pruned:
        assert pruned_trial.loss is not None
        assert pruned_trial.loss > median_before(trials, pruned_trial)
        assert len(pruned_trial.losses) < len(data.folds)
    fitted = {job.key for job in fitted_jobs if job.forecaster.kind == "network"}
    assert fitted == {key for pruned_trial in trials for key in keys_of(pruned_trial, frames)}


def median_before(trials: Sequence[Trial], pruned: Trial) -> float:
    """The median, over complete trials of earlier groups, of their estimate at a pruned trial's last step.

    An estimate is the sum of the known losses times a factor that is the same for all with the same known folds.
    """
    group = pruned.number // TRIALS_AT_ONCE
    before = [trial for trial in trials if trial.state == "complete" and trial.number // TRIALS_AT_ONCE < group]
    scale = (pruned.loss or 0.0) / sum(pruned.losses)
    return float(np.median([scale * sum(earlier.losses[: len(pruned.losses)]) for earlier in before]))


def keys_of(trial: Trial, frames: Frames) -> list[str]:
    """The keys of the fits of a trial, one per loss."""
    jobs, _ = jobs_for(frames, with_values(EXPERIMENT, trial.values), folds=slice(0, len(trial.losses)))
    return [job.key for job in jobs]
