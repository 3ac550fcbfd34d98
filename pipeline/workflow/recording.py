"""Recording a run in MLflow: opened while the run goes on, and closed with the right status however it ends."""

from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

from pipeline.evaluation.trials import Trials
from pipeline.experiment import Experiment
from pipeline.operation.model import TrainedModel
from pipeline.operation.result import CalendarResult
from pipeline.settings import Settings
from pipeline.tracking.descriptions import RunKind
from pipeline.tracking.record import log_result
from pipeline.tracking.runs import RunStatus, describe_run, end_stranded_runs, finish_run, log_metrics, start_run
from pipeline.tracking.store import Store, prepare_store, run_url
from pipeline.tracking.tested_specifications import TestedSpecification, count_tested
from pipeline.workflow.run_context import RunContext


@dataclass(frozen=True)
class RecordedResult:
    """A result on one calendar with where it was recorded, its report, its seconds, and what it has to publish."""

    result: CalendarResult
    run_id: str
    url: str
    report: Path
    seconds: dict[str, float] = field(default_factory=dict)
    trained: TrainedModel | None = None


class Recording:
    """A context in which a run is recorded: FINISHED, FAILED or, after an interrupt, KILLED.

    The store is opened in a thread at once: a first use creates its tables for some seconds, while the run goes on.
    """

    def __init__(self, settings: Settings, kind: RunKind, experiment: Experiment, parent: str | None = None) -> None:
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
            finish_run(store, run_id, final_status(kind), "" if error is None else str(error) or type(error).__name__)

    def _open(self) -> tuple[Store, str]:
        store = opened_store(self._settings)
        return store, start_run(store, self._kind, self._experiment, self._parent)

    @property
    def run_id(self) -> str:
        """The run's id, once the store is open; raises TrackingError if it cannot be opened."""
        return self._opened.result()[1]

    @property
    def url(self) -> str:
        """The run's address for people."""
        return run_url(*self._opened.result())

    def count_tested(self, attempt: TestedSpecification, tuned: int) -> Trials:
        """Return how many specifications were tested on these prices, and note that this one is about to be."""
        store, run_id = self._opened.result()
        return count_tested(store, run_id, attempt, tuned)

    def log(
        self, result: CalendarResult, figures: Mapping[str, bytes], report: Path, seconds: Mapping[str, float]
    ) -> None:
        """Write the finished run: metrics, tables, figures, model and report."""
        store, run_id = self._opened.result()
        log_result(store, run_id, result, figures, report, seconds)

    def log_seconds(self, stage: str, seconds: float) -> None:
        """Write how long one more stage took."""
        store, run_id = self._opened.result()
        log_metrics(store, run_id, {f"seconds/{stage}": seconds})

    def describe(self, note: str, tags: Mapping[str, str]) -> None:
        """Write the run's description and tags, where it has no result of its own."""
        store, run_id = self._opened.result()
        describe_run(store, run_id, note, tags)


def record(context: RunContext, recording: Recording, result: CalendarResult) -> RecordedResult:
    """Write figures, report and MLflow run of a result, and return where they are."""
    from pipeline.reporting.figures import draw_figures  # noqa: PLC0415  matplotlib, only when something is to be drawn
    from pipeline.reporting.report import write_report  # noqa: PLC0415

    folder = context.report_folder(recording.run_id)
    with context.timer.stage("report"):
        figures = context.step(draw_figures, "figures")(result)
        report = context.step(write_report, "report")(result, figures, folder, recording.url)
    with context.timer.stage("record"):
        context.step(recording.log, "record")(result, figures, report, dict(context.timer.seconds))
    recording.log_seconds("record", context.timer.seconds["record"])
    return RecordedResult(result, recording.run_id, recording.url, report, dict(context.timer.seconds))


def opened_store(settings: Settings) -> Store:
    """Return the store of these settings, after ending the runs of killed processes in it."""
    store = prepare_store(
        settings.mlflow_uri, settings.mlflow_artifacts, settings.mlflow_experiment, settings.mlflow_pages
    )
    end_stranded_runs(store)
    return store


@contextmanager
def recorded(settings: Settings, start: Callable[[Store], str]) -> Iterator[tuple[Store, str]]:
    """Return a context in which a run that `start` begins is recorded, and closed like a Recording; for checks."""
    store = opened_store(settings)
    run_id = start(store)
    with closing(store, run_id):
        yield store, run_id


@contextmanager
def closing(store: Store, run_id: str) -> Iterator[None]:
    """Return a context at whose end a run is FINISHED, FAILED or, after an interrupt, KILLED."""
    try:
        yield
    except BaseException as error:
        finish_run(store, run_id, final_status(type(error)), str(error) or type(error).__name__)
        raise
    finish_run(store, run_id, "FINISHED")


def final_status(kind: type[BaseException] | None) -> RunStatus:
    """Return the status of a run that ended with an error of this kind, or with none."""
    if kind is None:
        return "FINISHED"
    return "FAILED" if issubclass(kind, Exception) else "KILLED"
