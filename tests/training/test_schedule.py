"""Running jobs: same bits in process, in processes and in any order; failures as values."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from pipeline.dataset.frames import Frames, save_frames
from pipeline.errors import FitError
from pipeline.forecasters.recurrent.specification import RecurrentSpec
from pipeline.training.cache import FitCache
from pipeline.training.devices import one_thread
from pipeline.training.jobs import FitJob, FitResult
from pipeline.training.schedule import fit_all, raise_failures
from tests.execution.workers import children
from tests.panels import TINY, changed, frames_from, jobs_for, random_market


@pytest.fixture(scope="module")
def frames() -> Frames:
    return frames_from(random_market(500, 4))


@pytest.fixture(scope="module")
def jobs(frames: Frames) -> list[FitJob]:
    experiment = changed(TINY, seeds=2, network=RecurrentSpec(hidden_size=12, num_layers=2))
    return jobs_for(frames, experiment, kinds=("network", "climatology", "linear"), folds=slice(1))[0]


def run(jobs: list[FitJob], frames: Frames, folder: Path, workers: int) -> list[FitResult]:
    save_frames(frames, folder / "frames")
    return list(fit_all(jobs, folder / "frames", FitCache(folder / "kept"), workers))


def bits(results: list[FitResult]) -> dict[str, dict[str, bytes]]:
    raise_failures(results)
    return {r.job.key: {name: array.tobytes() for name, array in r.fitted.arrays.items()} for r in results}


def test_the_bits_do_not_depend_on_order_processes_or_threads(
    frames: Frames, jobs: list[FitJob], tmp_path: Path
) -> None:
    expected = bits(run(jobs, frames, tmp_path / "one by one", 1))
    assert len(expected) == 4
    assert bits(run(jobs[::-1], frames, tmp_path / "backwards", 1)) == expected
    assert bits(run(jobs[1:2], frames, tmp_path / "alone", 1)).items() <= expected.items()
    assert bits(run(jobs, frames, tmp_path / "processes", 2)) == expected
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        assert bits(run(jobs, frames, tmp_path / "threads", 1)) == expected
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)


def test_workers_keep_their_fits_and_a_failure_stops_no_other(
    frames: Frames, jobs: list[FitJob], tmp_path: Path
) -> None:
    impossible = replace(jobs[0], training=jobs[0].training.model_copy(update={"learning_rate": 1e30}))
    broken = replace(jobs[2], tickers=("NOT THERE",))
    results = run([impossible, broken, jobs[1], jobs[2]], frames, tmp_path, 2)
    by_key = {result.job.key: result for result in results}
    assert len(by_key) == 4
    assert "the loss is not finite" in by_key[impossible.key].error
    assert "Traceback" in by_key[broken.key].error
    assert [by_key[job.key].fitted is not None for job in jobs[1:3]] == [True, True]
    again = run([impossible, broken, jobs[1], jobs[2]], frames, tmp_path, 1)
    assert {result.job.key for result in again if result.cached} == {jobs[1].key, jobs[2].key}
    with pytest.raises(FitError, match=r"(?s)2 of 4 fits failed:.*network, fold .*, seed 0: the loss is not finite"):
        raise_failures(again)


def test_a_failure_is_a_value_in_process_too(frames: Frames, jobs: list[FitJob], tmp_path: Path) -> None:
    broken = replace(jobs[2], tickers=("NOT THERE",))
    results = run([broken, jobs[2]], frames, tmp_path, 1)
    assert [result.fitted is None for result in results] == [True, False]
    assert len(list((tmp_path / "kept").iterdir())) == 1


def test_a_fit_runs_on_one_thread_and_gives_the_others_back() -> None:
    before = torch.get_num_threads()
    with one_thread():
        assert torch.get_num_threads() == 1
    assert torch.get_num_threads() == before
    with pytest.raises(FitError), one_thread():
        raise FitError("within")
    assert torch.get_num_threads() == before


def test_fits_on_another_device_run_one_at_a_time_in_this_process(
    frames: Frames, jobs: list[FitJob], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Several at once would share its memory. The CPU by another name stands for a GPU, which is not at hand."""
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # it would be left behind
    elsewhere = [replace(job, device="cpu:0") for job in jobs if job.forecaster.kind == "network"]
    on_cpu = [job for job in jobs if job.forecaster.kind != "network"]
    assert (len(elsewhere), len(on_cpu)) == (2, 2)
    save_frames(frames, tmp_path / "frames")
    before, made = children(), 0
    for result in fit_all([*on_cpu, *elsewhere], tmp_path / "frames", FitCache(tmp_path / "kept"), 4):
        assert result.fitted is not None, result.error
        assert children() <= before, "a worker process was started"
        made += 1
    assert made == 4


def test_the_shared_frames_are_not_written_to(frames: Frames, jobs: list[FitJob], tmp_path: Path) -> None:
    run(jobs[:1], frames, tmp_path, 1)
    stored = np.load(tmp_path / "frames" / "features.npy", allow_pickle=False)
    np.testing.assert_array_equal(stored, frames.features)
