"""The search itself, on a small made market: every trial is judged by all its fits, and a bad one is given up early."""

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
from pipeline.tuning.choosing import choosing_of, loss_on, said
from pipeline.tuning.outcome import Trial
from pipeline.tuning.search import Fit, judging, search
from pipeline.tuning.space import Choices, with_values
from pipeline.tuning.study import TRIALS_AT_ONCE, open_study
from tests.panels import TINY, changed, frames_from, jobs_for, random_market

from .made import TERMS, really_searched, storage_in

EXPERIMENT = changed(TINY, folds=FoldSpec(refit_months=3, validation_months=3))


@pytest.fixture(scope="module")
def frames() -> Frames:
    return frames_from(random_market(), EXPERIMENT)


def fitting(folder: Path, asked: list[FitJob]) -> Fit:
    """A function that fits jobs on the frames of a folder and notes what it was asked for."""

    def fit_them(jobs: Sequence[FitJob]) -> list[FitResult]:
        asked.extend(jobs)
        return list(fit_all(jobs, folder / "frames", FitCache(folder / "kept"), 1))

    return fit_them


def test_the_reference_is_the_last_close_on_each_fold_by_itself(frames: Frames, tmp_path: Path) -> None:
    choosing = choosing_of(frames, folds_of(frames, EXPERIMENT), 3)
    save_frames(choosing.frames, tmp_path / "frames")
    found = judging(EXPERIMENT, choosing, "cpu", fitting(tmp_path, [])).reference
    expected = []
    for fold in choosing.folds:
        (job,) = [one for one in jobs_for(frames, EXPERIMENT, ("last_close",))[0] if one.fold == fold]
        expected.append(loss_on([said(fit(job, frames), choosing, fold)], choosing, fold))
    assert found == tuple(expected)
    assert len(set(found)) == 3, "the folds differ in how wild they were"


def test_a_trial_is_judged_by_the_mean_of_different_seeds(frames: Frames, tmp_path: Path) -> None:
    base = changed(EXPERIMENT, seeds=2, seed=5)
    (trial,), choosing = really_searched(frames, tmp_path, 1, folds=2, base=base)
    jobs, folds = jobs_for(frames, with_values(base, trial.values), folds=slice(0, 2))
    for at, fold in enumerate(folds):
        fits = [fit(job, frames) for job in jobs if job.fold == fold]
        assert [job.seed for job in jobs if job.fold == fold] == [5, 6]
        by_seed = [said(fitted, choosing, fold) for fitted in fits]
        assert not np.array_equal(by_seed[0], by_seed[1], equal_nan=True)
        assert trial.losses[at] == pytest.approx(loss_on(by_seed, choosing, fold), rel=1e-9)
        assert trial.losses[at] != pytest.approx(loss_on(by_seed[:1] * 2, choosing, fold), rel=1e-6)


def test_a_trial_above_the_median_of_those_before_costs_no_further_fit(frames: Frames, tmp_path: Path) -> None:
    """A learning rate of nearly nothing leaves a network as it was made: worse than what five others have learned."""
    choosing = choosing_of(frames, folds_of(frames, EXPERIMENT), 3)
    save_frames(choosing.frames, tmp_path / "frames")
    asked: list[FitJob] = []
    judge = judging(EXPERIMENT, choosing, "cpu", fitting(tmp_path, asked))
    space = {"training.learning_rate": Choices((1e-9, 4e-3, 8e-3)), "network.hidden_size": Choices((4, 6, 8))}
    first = {"training.learning_rate": 4e-3, "network.hidden_size": 6}
    with open_study(storage_in(tmp_path), "s", space, TERMS, first, 3) as study:
        *_, trials = search(study, judge, 15)
    pruned = [one for one in trials if one.state == "pruned"]
    assert len(pruned) >= 2
    assert {one.state for one in trials[:TRIALS_AT_ONCE]} == {"complete"}, "there is no median before"
    for one in pruned:
        assert one.loss is not None
        assert one.loss > median_before(trials, one)
        assert len(one.losses) < len(choosing.folds)
    fitted = {job.key for job in asked if job.forecaster.kind == "network"}
    assert fitted == {key for one in trials for key in keys_of(one, frames)}


def median_before(trials: Sequence[Trial], pruned: Trial) -> float:
    """The median, over complete trials of former groups, of the estimate that they had at a pruned trial's last step.

    An estimate is the sum of the known losses, scaled by what is the same for all of which the same folds are known.
    """
    group = pruned.number // TRIALS_AT_ONCE
    before = [one for one in trials if one.state == "complete" and one.number // TRIALS_AT_ONCE < group]
    scale = (pruned.loss or 0.0) / sum(pruned.losses)
    return float(np.median([scale * sum(one.losses[: len(pruned.losses)]) for one in before]))


def keys_of(trial: Trial, frames: Frames) -> list[str]:
    """The keys of the fits that a trial needed: as many as it has losses."""
    jobs, _ = jobs_for(frames, with_values(EXPERIMENT, trial.values), folds=slice(0, len(trial.losses)))
    return [job.key for job in jobs]
