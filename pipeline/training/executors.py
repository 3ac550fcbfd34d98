"""Running fit jobs: in this process or in one process per core, with the same bits either way."""

import multiprocessing
import os
import signal
import threading
import time
import traceback
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

from pipeline.dataset.frames import open_frames
from pipeline.errors import FitError, TapecastError
from pipeline.processes import spare_the_collector
from pipeline.training.jobs import FitJob, FitResult, Fitted
from pipeline.training.kept import KeptFits

ORPHAN_CHECK_SECONDS = 1.0
KILLED = "its worker process was killed (out of memory?): run again with fewer workers"


def fit_all(jobs: Sequence[FitJob], frames_folder: Path, kept: KeptFits, workers: int) -> Iterator[FitResult]:
    """Yield a result for every job as it finishes, failures as values; a fit that is kept is not repeated.

    A finished fit is kept before it is yielded, so nothing is lost when the caller stops.
    """
    waiting, found = [], {}
    for job in jobs:
        fitted = kept.find(job)
        if fitted is None:
            waiting.append(job)
        else:
            found[job.key] = fitted
            yield FitResult(job, fitted, kept=True)
    in_process = workers <= 1 or len(waiting) <= 1 or any(job.device != "cpu" for job in waiting)
    order = Order(waiting, found)
    workers = min(workers, len(waiting))
    results = _one_by_one(order, frames_folder) if in_process else _in_processes(order, frames_folder, workers)
    for result in results:
        if result.fitted is not None:
            kept.keep(result.job, result.fitted)
        yield result


class Order:
    """Jobs in an order in which they can be fitted: one that begins from the fit of another waits for it."""

    def __init__(self, jobs: Sequence[FitJob], found: Mapping[str, Fitted]) -> None:
        self._waiting = list(jobs)
        self._open = {job.key for job in jobs}  # waiting or being fitted
        self._fits = dict(found)

    def ready(self) -> list[tuple[FitJob, Fitted | None]]:
        """Return the jobs that need not wait any longer, each once, with the fit that it begins from."""
        now = [job for job in self._waiting if job.begins_from not in self._open]
        self._waiting = [job for job in self._waiting if job.begins_from in self._open]
        return [(job, self._fits.get(job.begins_from or "")) for job in now]

    @property
    def done(self) -> bool:
        """True once every job is finished."""
        return not self._open

    def finished(self, result: FitResult) -> FitResult:
        """Return the same result, which others may have waited for."""
        self._open.discard(result.job.key)
        if result.fitted is not None:
            self._fits[result.job.key] = result.fitted
        return result


def fit_from_folder(job: FitJob, frames_folder: Path, former: Fitted | None = None) -> FitResult:
    """Return the result of one job on shared frames; any failure comes back as a value with its reason.

    `former` is the fit that the job begins from.
    """
    from pipeline.training.fits import fit  # noqa: PLC0415  a worker imports torch, its parent need not

    if job.begins_from and former is None:
        return FitResult(job, None, "the fit of the former fold, which it begins from, failed")
    try:
        return FitResult(job, fit(job, open_frames(frames_folder), former))
    except TapecastError as error:
        return FitResult(job, None, str(error))
    except Exception:  # noqa: BLE001  not silent: the traceback travels as the value's reason
        return FitResult(job, None, traceback.format_exc())


def raise_failures(results: Sequence[FitResult]) -> None:
    """Raise FitError naming every failed fit; the finished ones are kept and will not be repeated."""
    failed = [result for result in results if result.fitted is None]
    if failed:
        lines = [f"{_named(result.job)}: {result.error}" for result in failed]
        raise FitError(f"{len(failed)} of {len(results)} fits failed:\n" + "\n".join(lines))


def _named(job: FitJob) -> str:
    alone = f", {job.tickers[0]}" if len(job.tickers) == 1 else ""
    return f"{job.forecaster.kind}{alone}, fold {job.fold.name}, seed {job.seed}"


def _one_by_one(order: Order, frames_folder: Path) -> Iterator[FitResult]:
    while ready := order.ready():
        for job, former in ready:
            yield order.finished(fit_from_folder(job, frames_folder, former))


def _in_processes(order: Order, frames_folder: Path, workers: int) -> Iterator[FitResult]:
    """Yield results from spawned processes (a fork of a process that has used torch's threads may hang)."""
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(workers, context, initializer=_start_worker, initargs=(os.getpid(),))
    futures: dict[Future[FitResult], FitJob] = {}
    try:
        while True:
            for job, former in order.ready():
                try:
                    futures[pool.submit(fit_from_folder, job, frames_folder, former)] = job
                except BrokenProcessPool:
                    yield order.finished(FitResult(job, None, KILLED))
            if not futures:
                if order.done:
                    return
                continue
            done, _ = wait(futures, return_when=FIRST_COMPLETED)
            for future in done:
                yield order.finished(_result_of(future, futures.pop(future)))
    finally:
        _end(pool)


def _result_of(future: "Future[FitResult]", job: FitJob) -> FitResult:
    try:
        return future.result()
    except BrokenProcessPool:
        return FitResult(job, None, KILLED)


def _end(pool: ProcessPoolExecutor) -> None:
    """End the pool's processes at once: they hold nothing that is not kept already."""
    children = list((pool._processes or {}).values())  # the pool cannot stop a running job itself
    pool.shutdown(wait=False, cancel_futures=True)
    for child in children:
        child.terminate()
    for child in children:
        child.join()


def _start_worker(parent: int) -> None:
    spare_the_collector()
    # An interrupt goes to the whole process group: the parent decides, and ends its workers.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_leave_with_parent, args=(parent,), daemon=True).start()


def _leave_with_parent(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(ORPHAN_CHECK_SECONDS)
    os._exit(1)
