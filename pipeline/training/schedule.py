"""Running fit jobs: from the cache, in this process or in one process per core, with the same bits either way."""

import traceback
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from graphlib import TopologicalSorter
from pathlib import Path

from pipeline.dataset.frames import open_frames
from pipeline.errors import FitError, TapecastError
from pipeline.execution.pool import WorkerPool
from pipeline.forecasters.forecaster import Fitted
from pipeline.training.cache import FitCache
from pipeline.training.jobs import FitJob, FitResult

KILLED = "its worker process was killed (out of memory?): run again with fewer workers"


def fit_all(
    jobs: Sequence[FitJob], frames_folder: Path, cache: FitCache, workers: int, notes: Path | None = None
) -> Iterator[FitResult]:
    """Yield a result for every job (each given once) as it finishes, failures as values; a cached fit is not repeated.

    A finished fit is cached before it is yielded, so that nothing is lost when the caller stops. Worker processes are
    noted in the folder `notes` while they live.
    """
    waiting, cached = [], {}
    for job in jobs:
        fitted = cache.get(job)
        if fitted is None:
            waiting.append(job)
        else:
            cached[job.key] = fitted
            yield FitResult(job, fitted, cached=True)
    in_process = workers <= 1 or len(waiting) <= 1 or any(job.device != "cpu" for job in waiting)
    schedule = Schedule(waiting, cached)
    pool = WorkerPool[FitJob](min(workers, len(waiting)), notes)
    results = _one_by_one(schedule, frames_folder) if in_process else _in_processes(schedule, frames_folder, pool)
    for result in results:
        if result.fitted is not None:
            cache.put(result.job, result.fitted)
        yield result


class Schedule:
    """Jobs in an order in which they can be fitted: one that starts from the fit of another waits for it."""

    def __init__(self, jobs: Sequence[FitJob], cached: Mapping[str, Fitted]) -> None:
        by_key = {job.key: job for job in jobs}
        self._order = TopologicalSorter(
            {job: [by_key[job.starts_from]] if job.starts_from in by_key else [] for job in jobs}
        )
        self._order.prepare()
        self._ready: deque[FitJob] = deque()
        self._fits = dict(cached)

    def next_ready(self) -> tuple[FitJob, Fitted | None] | None:
        """Return the next job that need not wait, with the fit that it starts from; None where there is none."""
        self._ready.extend(self._order.get_ready())
        if not self._ready:
            return None
        job = self._ready.popleft()
        return job, self._fits.get(job.starts_from or "")

    def finish(self, result: FitResult) -> FitResult:
        """Return the same result, after recording it for the jobs that wait for it."""
        if result.fitted is not None:
            self._fits[result.job.key] = result.fitted
        self._order.done(result.job)
        return result


def fit_from_folder(job: FitJob, frames_folder: Path, former: Fitted | None = None) -> FitResult:
    """Return the result of one job on shared frames; any failure comes back as a value with its reason.

    `former` is the fit that the job starts from.
    """
    from pipeline.training.fits import fit  # noqa: PLC0415  a worker imports torch, its parent need not

    if job.starts_from and former is None:
        return FitResult(job, None, "the fit of the previous fold, which it starts from, failed")
    try:
        return FitResult(job, fit(job, open_frames(frames_folder), former))
    except FitError as error:
        return FitResult(job, None, str(error), refused=True)
    except TapecastError as error:
        return FitResult(job, None, str(error))
    except Exception:  # noqa: BLE001  not silent: the traceback travels as the value's reason
        return FitResult(job, None, traceback.format_exc())


def raise_failures(results: Sequence[FitResult]) -> None:
    """Raise FitError naming every failed fit; the finished ones are cached and will not be repeated."""
    failed = [result for result in results if result.fitted is None]
    if failed:
        lines = [f"{_description(result.job)}: {result.error}" for result in failed]
        raise FitError(f"{len(failed)} of {len(results)} fits failed:\n" + "\n".join(lines))


def _description(job: FitJob) -> str:
    alone = f", {job.tickers[0]}" if len(job.tickers) == 1 else ""
    return f"{job.forecaster.kind}{alone}, fold {job.fold.name}, seed {job.seed}"


def _one_by_one(schedule: Schedule, frames_folder: Path) -> Iterator[FitResult]:
    while ready := schedule.next_ready():
        job, former = ready
        yield schedule.finish(fit_from_folder(job, frames_folder, former))


def _in_processes(schedule: Schedule, frames_folder: Path, pool: WorkerPool[FitJob]) -> Iterator[FitResult]:
    with pool:
        while True:
            while pool.has_room and (ready := schedule.next_ready()):
                job, former = ready
                pool.start(job, fit_from_folder, job, frames_folder, former)
            if not pool.is_busy:
                return
            for call in pool.finished():
                yield schedule.finish(FitResult(call.key, None, KILLED) if call.died else call.result)
