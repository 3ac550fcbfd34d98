"""Recording a run in MLflow: opened beside the work, closed with the right status however the work ends."""

from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from pipeline.evaluation.luck import Luck
from pipeline.experiment import Experiment
from pipeline.operation.outcome import Outcome
from pipeline.settings import Settings
from pipeline.tracking.history import Attempt, tried_before
from pipeline.tracking.record import log_outcome
from pipeline.tracking.runs import Status, describe, end_stranded, finish, log_metrics, start_run
from pipeline.tracking.store import Store, prepare_store, run_url
from pipeline.tracking.words import Kind


@dataclass(frozen=True)
class Recorded:
    """Where a run was recorded."""

    run_id: str
    url: str


class Recording:
    """A context in which a run is recorded: FINISHED, FAILED or, after an interrupt, KILLED.

    The store is opened in a thread at once: a first use creates its tables for some seconds, while the run goes on.
    """

    def __init__(self, settings: Settings, kind: Kind, experiment: Experiment, parent: str | None = None) -> None:
        self._settings, self._kind, self._experiment, self._parent = settings, kind, experiment, parent
        self._thread = ThreadPoolExecutor(1)

    def __enter__(self) -> Self:
        self._opened: Future[tuple[Store, str]] = self._thread.submit(self._open)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._thread.shutdown(wait=True)
        if self._opened.exception() is None:
            store, run_id = self._opened.result()
            finish(store, run_id, _status(kind), "" if error is None else str(error) or type(error).__name__)

    def _open(self) -> tuple[Store, str]:
        store = opened(self._settings)
        return store, start_run(store, self._kind, self._experiment, self._parent)

    def where(self) -> Recorded:
        """Return the run's id and address, once the store is open; raises TrackingError if it cannot be."""
        store, run_id = self._opened.result()
        return Recorded(run_id, run_url(store, run_id))

    def log(self, outcome: Outcome, figures: Mapping[str, bytes], report: Path, seconds: Mapping[str, float]) -> None:
        """Write the finished run: metrics, tables, figures, model and report."""
        store, run_id = self._opened.result()
        log_outcome(store, run_id, outcome, figures, report, seconds)

    def describe(self, note: str, tags: Mapping[str, str]) -> None:
        """Write the run's description and tags, where it has no outcome of its own."""
        store, run_id = self._opened.result()
        describe(store, run_id, note, tags)

    def counted(self, attempt: Attempt, tuned: int) -> Luck:
        """Return how many specifications were tested on these prices, and note that this one is about to be."""
        store, run_id = self._opened.result()
        return tried_before(store, run_id, attempt, tuned)

    def log_seconds(self, stage: str, seconds: float) -> None:
        """Write how long one more stage took."""
        store, run_id = self._opened.result()
        log_metrics(store, run_id, {f"seconds/{stage}": seconds})


def opened(settings: Settings) -> Store:
    """Return the store of these settings, in which no run of a killed process goes on any more."""
    store = prepare_store(
        settings.mlflow_uri, settings.mlflow_artifacts, settings.mlflow_experiment, settings.mlflow_pages
    )
    end_stranded(store)
    return store


@contextmanager
def recorded(settings: Settings, start: Callable[[Store], str]) -> Iterator[tuple[Store, str]]:
    """Return a context in which a run that `start` begins is recorded, closed like a Recording is; for quick suites."""
    store = opened(settings)
    run_id = start(store)
    try:
        yield store, run_id
    except BaseException as error:
        finish(store, run_id, _status(type(error)), str(error) or type(error).__name__)
        raise
    finish(store, run_id, "FINISHED")


def _status(kind: type[BaseException] | None) -> Status:
    if kind is None:
        return "FINISHED"
    return "FAILED" if issubclass(kind, Exception) else "KILLED"
