"""Worker processes: results by key, how many there are, how they end, and what a killed one is reported as."""

import operator
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Generator
from pathlib import Path

import psutil
import pytest

from pipeline.dataset.frames import Frames, save_frames
from pipeline.execution.pool import Finished, WorkerPool
from pipeline.training.cache import FitCache
from pipeline.training.jobs import FitJob
from pipeline.training.schedule import fit_all
from tests.execution.workers import children
from tests.panels import TINY, changed, frames_from, jobs_for, random_market

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def frames() -> Frames:
    return frames_from(random_market(500, 3))


@pytest.fixture(scope="module")
def jobs(frames: Frames) -> list[FitJob]:
    return jobs_for(frames, changed(TINY, seeds=3), folds=slice(1))[0]


def wait_until(holds: Callable[[], bool]) -> None:
    end = time.monotonic() + 30
    while not holds():
        assert time.monotonic() < end, "it did not happen within 30 seconds"
        time.sleep(0.02)


def every_result(pool: WorkerPool[str]) -> list[Finished[str]]:
    results = []
    while pool.is_busy:
        results += list(pool.finished())
    return results


def test_each_call_comes_back_by_its_key_from_no_more_workers_than_requested() -> None:
    before, results = children(), []
    with WorkerPool[str](2) as pool:
        for number in range(6):
            if not pool.has_room:
                assert len(children() - before) <= 2
                results += list(pool.finished())
            pool.start(str(number), operator.mul, number, 10)
        results += every_result(pool)
        assert len(children() - before) == 2
        assert pool.has_room
    assert {result.key: result.result for result in results} == {str(number): 10 * number for number in range(6)}
    assert not any(result.died for result in results)


def test_a_call_runs_in_another_process_and_an_idle_worker_is_used_again() -> None:
    with WorkerPool[str](3) as pool:
        processes = []
        for key in ("first", "second"):
            pool.start(key, os.getpid)
            processes += [result.result for result in every_result(pool)]
        assert processes[0] == processes[1] != os.getpid()


def test_a_worker_finds_modules_where_this_process_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "module_of_a_user.py").write_text("def doubled(number):\n    return 2 * number\n")
    from module_of_a_user import doubled  # type: ignore[import-not-found]  # noqa: PLC0415

    with WorkerPool[str](1) as pool:
        pool.start("key", doubled, 21)
        assert [result.result for result in every_result(pool)] == [42]


def test_workers_leave_signals_to_their_parent_and_are_noted_while_they_live(tmp_path: Path) -> None:
    before = children()
    with WorkerPool[str](1, tmp_path) as pool:
        pool.start("key", time.sleep, 0.5)
        (worker,) = children() - before
        assert [path.name for path in tmp_path.iterdir()] == [f"{worker}.json"]
        for number in (signal.SIGTERM, signal.SIGINT):
            os.kill(worker, number)
        assert every_result(pool) == [Finished("key", None)]
    assert not list(tmp_path.iterdir())
    assert children() == before


def test_a_killed_worker_is_reported_as_killed_and_the_others_go_on() -> None:
    before = children()
    with WorkerPool[str](2) as pool:
        pool.start("killed", time.sleep, 600)
        (victim,) = children() - before
        pool.start("other", time.sleep, 1.0)
        os.kill(victim, signal.SIGKILL)
        results = every_result(pool)
        pool.start("later", operator.add, 1, 2)
        results += every_result(pool)
    assert {result.key: result.died for result in results} == {"killed": True, "other": False, "later": False}
    assert results[-1] == Finished("later", 3)


def test_a_worker_that_was_killed_while_idle_is_reported_as_killed() -> None:
    before = children()
    with WorkerPool[str](1) as pool:
        pool.start("first", operator.add, 1, 2)
        assert every_result(pool) == [Finished("first", 3)]
        (victim,) = children() - before
        os.kill(victim, signal.SIGKILL)
        wait_until(lambda: children() == before)
        pool.start("second", operator.add, 1, 2)
        assert every_result(pool) == [Finished("second", died=True)]
        pool.start("third", operator.add, 1, 2)
        assert every_result(pool) == [Finished("third", 3)]


def test_a_fit_whose_worker_was_killed_says_so_and_the_other_is_made(
    frames: Frames, jobs: list[FitJob], tmp_path: Path
) -> None:
    save_frames(frames, tmp_path / "frames")
    before = children()

    def kill_one() -> None:
        wait_until(lambda: children() > before)
        os.kill(min(children() - before), signal.SIGKILL)  # while it still imports what a fit needs

    killer = threading.Thread(target=kill_one)
    killer.start()
    results = list(fit_all(jobs[:2], tmp_path / "frames", FitCache(tmp_path / "fits"), 2))
    killer.join()
    killed, other = sorted(results, key=lambda result: result.fitted is not None)
    assert killed.fitted is None
    assert killed.error == "its worker process was killed (out of memory?): run again with fewer workers"
    assert other.fitted is not None
    assert other.error is None


@pytest.mark.parametrize("stopped", [False, True], ids=["at its end", "by an error"])
def test_no_worker_is_left_after_the_pool(stopped: bool) -> None:
    before = children()
    began = time.monotonic()
    try:
        with WorkerPool[str](2) as pool:
            pool.start("idle", operator.add, 1, 2)
            list(pool.finished())
            pool.start("busy", time.sleep, 600)
            pool.start("busy too", time.sleep, 600)
            assert len(children() - before) == 2
            if stopped:
                raise KeyboardInterrupt
    except KeyboardInterrupt:
        assert stopped
    assert children() == before
    assert time.monotonic() - began < 30


def test_no_worker_is_left_when_the_caller_stops(frames: Frames, jobs: list[FitJob], tmp_path: Path) -> None:
    save_frames(frames, tmp_path / "frames")
    results = fit_all(jobs, tmp_path / "frames", FitCache(tmp_path / "kept"), 2)
    next(results)
    workers = children()
    assert workers != set()
    assert isinstance(results, Generator)
    results.close()
    assert children() & workers == set()


def test_a_worker_does_not_end_by_an_interrupt_that_its_parent_handles() -> None:
    before = children()
    with WorkerPool[str](1) as pool:
        pool.start("ready", operator.add, 1, 2)
        list(pool.finished())
        (worker,) = children() - before
        pool.start("interrupted", time.sleep, 0.5)
        os.kill(worker, signal.SIGINT)
        assert every_result(pool) == [Finished("interrupted")]


PARENT = """
import os, signal, time
from pipeline.execution.pool import WorkerPool
pool = WorkerPool(1)
pool.start("ready", os.getpid)
(ready,) = pool.finished()
pool.start("busy", time.sleep, 600)
print(ready.result, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_worker_ends_with_a_parent_that_was_killed() -> None:
    ran = subprocess.run([sys.executable, "-c", PARENT], capture_output=True, text=True, check=False, cwd=ROOT)
    assert ran.returncode == -signal.SIGKILL, ran.stderr
    worker = int(ran.stdout)
    wait_until(lambda: not psutil.pid_exists(worker) or psutil.Process(worker).status() == psutil.STATUS_ZOMBIE)


WITHOUT_A_GUARD = """
import sys
from pathlib import Path

from pipeline.dataset.frames import save_frames
from pipeline.training.cache import FitCache
from pipeline.training.schedule import fit_all, raise_failures
from tests.execution.workers import children
from tests.panels import frames_from, jobs_for, random_market

print("started")
folder = Path(sys.argv[1])
frames = frames_from(random_market(500, 3))
save_frames(frames, folder / "frames")
jobs, _ = jobs_for(frames, kinds=("network", "climatology"))
results, workers = [], set()
for result in fit_all(jobs, folder / "frames", FitCache(folder / "fits"), 2):
    workers |= children()
    results.append(result)
raise_failures(results)
print(len(workers), "workers,", len(results), "of", len(jobs), "fits")
"""


def test_a_script_without_a_guard_around_its_main_part_fits_on_two_workers(tmp_path: Path) -> None:
    """The script's own module is not imported by a worker: it would start everything anew."""
    script = tmp_path / "script.py"
    script.write_text(WITHOUT_A_GUARD)
    ran = subprocess.run(
        [sys.executable, str(script), str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.splitlines() == ["started", "2 workers, 2 of 2 fits"]
