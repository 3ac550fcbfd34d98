"""Fits one after the other, in this process: the schedule's bits, and every warm start in its turn."""

from pathlib import Path

import pytest

from pipeline.dataset.frames import Frames
from pipeline.errors import FitError
from pipeline.experiment import Experiment
from pipeline.training.fits import fit_each
from tests.panels import TINY, TINY_TRAINING, changed, fit_jobs, frames_from, jobs_for, random_market

WARM = changed(TINY, training=TINY_TRAINING.model_copy(update={"warm_start": True}))
KINDS = ("network", "climatology", "ewma")


@pytest.fixture(scope="module")
def frames() -> Frames:
    return frames_from(random_market(700, 3), TINY)


@pytest.mark.parametrize("experiment", [TINY, WARM], ids=["cold", "warm"])
def test_the_bits_are_those_of_the_schedule(frames: Frames, tmp_path: Path, experiment: Experiment) -> None:
    jobs, _ = jobs_for(frames, experiment, kinds=KINDS)
    found = fit_each(iter(jobs), frames)
    assert [result.job.key for result in found] == [job.key for job in jobs]
    expected = {result.job.key: result.fitted for result in fit_jobs(jobs, frames, tmp_path)}
    for result in found:
        assert result.error is None
        other = expected[result.job.key]
        assert result.fitted.arrays.keys() == other.arrays.keys()
        assert all(result.fitted.arrays[name].tobytes() == other.arrays[name].tobytes() for name in other.arrays)


def test_a_warm_start_without_the_fit_that_it_starts_from_is_refused(frames: Frames) -> None:
    jobs, _ = jobs_for(frames, WARM)
    assert jobs[1].starts_from == jobs[0].key
    with pytest.raises(FitError, match="put the earlier job first"):
        fit_each(jobs[1:], frames)
