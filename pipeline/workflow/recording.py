"""Recording a run in MLflow: by way of the outbox, and closed with the right status however the run ends."""

import hashlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

from pipeline.errors import TrackingError
from pipeline.evaluation.trials import Trials
from pipeline.experiment import Experiment
from pipeline.operation.model import TrainedModel
from pipeline.operation.result import CalendarResult
from pipeline.settings import Settings
from pipeline.tracking.background import Delivery
from pipeline.tracking.descriptions import RunKind
from pipeline.tracking.metrics import MetricValue
from pipeline.tracking.outbox import Header, open_journal
from pipeline.tracking.patience import Patience
from pipeline.tracking.record import log_result
from pipeline.tracking.runs import Record, RunStatus, start_run
from pipeline.tracking.store import refuse_unusable, run_url, without_password
from pipeline.tracking.tested_specifications import TestedSpecification, count_tested, note_tested
from pipeline.wording import count_of
from pipeline.workflow.earlier_records import destination_of
from pipeline.workflow.run_context import RunContext

INTERRUPTED_SECONDS = 3.0
"""How long an interrupted run waits for its end to be recorded."""


Start = Callable[[Record], None]
"""Starts the run in its record."""


@dataclass(frozen=True)
class RecordedResult:
    """A result on one calendar with its report, its seconds, and what it has to publish.

    `recorded` is False where MLflow does not have the run yet, and the address then None where it never answered;
    `warnings` say why. `report` is None where none could be written.
    """

    result: CalendarResult
    run_id: str | None = None
    url: str | None = None
    report: Path | None = None
    seconds: dict[str, float] = field(default_factory=dict)
    trained: TrainedModel | None = None
    recorded: bool = True
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class Recording:
    """A run that is being recorded; nothing of it raises where MLflow fails.

    `earlier_reports` are the reports of this home when the run began.
    """

    record: Record
    delivery: Delivery
    outbox: Path
    earlier_reports: int

    @property
    def run_id(self) -> str | None:
        """MLflow's id of the run; None where the store has not answered within the time that a run waits for it."""
        self.delivery.completed()
        return self.record.journal.delivered.runs.get(self.record.name)

    @property
    def url(self) -> str | None:
        """The run's address for people, where it has one."""
        run_id, store = self.run_id, self.delivery.store
        return run_url(store, run_id) if run_id and store else None

    @property
    def recorded(self) -> bool:
        """Whether MLflow has all that was written of the run until now."""
        return self.delivery.completed()

    @property
    def warnings(self) -> tuple[str, ...]:
        """What a reader of the result must know about its record, in sentences."""
        sentences = (self.lost_history, self._undelivered, self._refused, self._incomplete)
        return tuple(sentence for sentence in sentences if sentence)

    @property
    def lost_history(self) -> str:
        """That the records of earlier runs are not in the store, in a sentence; nothing where they are."""
        store = self.delivery.store
        if store is None:
            return ""
        if store.set_aside:
            return (
                f"The MLflow database was damaged: it is kept as {store.set_aside}, and this run is in a new one. The "
                "records of earlier runs, and how many specifications were tested, are in the damaged one alone."
            )
        if store.is_new and self.earlier_reports:
            return (
                f"MLflow experiment {store.experiment!r} at {without_password(store.uri)} is new, though there are "
                f"{count_of(self.earlier_reports, 'report')} of earlier runs: their records, and how many "
                "specifications they tested, are not in it. Restore it, or correct TAPECAST_TRACKING_URI, if that was "
                "not intended."
            )
        return ""

    @property
    def _undelivered(self) -> str:
        if self.recorded:
            return ""
        journal = self.record.journal
        where = (
            f"It waits in {self.outbox}, and the next run delivers it."
            if journal.kept
            else f"It could not be kept in {self.outbox} either: MLflow will not have it."
        )
        return f"This run is not in MLflow yet: {self.delivery.problem.rstrip('.')}. {where}"

    @property
    def _refused(self) -> str:
        refused = self.record.journal.delivered.refused
        if not refused:
            return ""
        return f"MLflow refused {count_of(len(refused), 'part')} of this run's record, the first with: {refused[0]}"

    @property
    def _incomplete(self) -> str:
        missing = self.record.journal.missing
        return (
            f"Files of this run's record could not be written, and are missing in MLflow: {missing}." if missing else ""
        )

    def count_tested(self, attempt: TestedSpecification, tuned: int) -> Trials:
        """Return how many specifications were tested on these prices, and note that this one is about to be."""
        note_tested(self.record, attempt)
        try:
            trials = self.delivery.answer(lambda store: count_tested(store, attempt, tuned))
        except TrackingError:
            return Trials(tuned=tuned, known=False)
        return replace(trials, known=not self.lost_history)


@contextmanager
def recorded(
    settings: Settings, job: str, start: Start, record_id: str | None = None, patience: Patience | None = None
) -> Iterator[Recording]:
    """Return a context in which a run that `start` begins is recorded: FINISHED, FAILED or, interrupted, KILLED.

    The store is opened in a thread at once: a first use creates its tables for some seconds, while the run goes on. A
    run of the same `job` (or `record_id`, where one is given) that was killed is continued. `patience` is what the use
    case has left (default: that of one record). Raises UsageError on an address that cannot be a store.
    """
    destination = destination_of(settings)
    refuse_unusable(destination)
    header = Header.new(job, without_password(destination.uri), destination.experiment, record_id)
    journal = open_journal(settings.outbox, header)
    delivery = Delivery(destination, settings.outbox, journal, patience or Patience())
    recording = Recording(Record(journal), delivery, settings.outbox, _reports_in(settings))
    start(recording.record)
    delivery.begin()
    try:
        with _closing(recording):
            yield recording
    finally:
        delivery.completed()
        delivery.close()


@contextmanager
def recorded_below(parent: Recording, name: str, start: Start) -> Iterator[Recording]:
    """Return a context in which a run below another one is recorded, and closed like it."""
    recording = replace(parent, record=parent.record.child(name))
    start(recording.record)
    with _closing(recording):
        yield recording


@contextmanager
def _closing(recording: Recording) -> Iterator[None]:
    try:
        yield
    except BaseException as error:
        recording.record.end(final_status(type(error)), str(error) or type(error).__name__)
        if not isinstance(error, Exception):
            recording.delivery.hurry(INTERRUPTED_SECONDS)
        raise
    recording.record.end("FINISHED")


def job_of(kind: RunKind, experiment: Experiment) -> str:
    """Return what distinguishes a job: its kind, and its experiment with the instant its prices are known at."""
    return f"{kind} {hashlib.sha256(experiment.model_dump_json().encode()).hexdigest()}"


def recorded_experiment(
    settings: Settings, kind: RunKind, experiment: Experiment, patience: Patience | None = None
) -> AbstractContextManager[Recording]:
    """Return a context in which a run of an experiment is recorded."""
    start = partial(start_run, kind=kind, experiment=experiment)
    return recorded(settings, job_of(kind, experiment), start, patience=patience)


def record(context: RunContext, recording: Recording, result: CalendarResult) -> RecordedResult:
    """Announce a result, then write its figures, report and record, and return where they are.

    What fails of these is a warning.
    """
    context.announce(result)
    with context.timer.stage("report"):
        result, figures, report = _reported(context, recording, result)
    with context.timer.stage("record"):
        seconds = dict(context.timer.seconds)
        noted = _warned(result, recording.lost_history)
        context.step(log_result, "record")(recording.record, context.kind, noted, figures, report, seconds)
        recording.recorded  # noqa: B018  waits
    recording.record.write([MetricValue("seconds/record", context.timer.seconds["record"])])
    whole = recording.recorded
    return RecordedResult(
        result,
        recording.run_id,
        recording.url,
        report,
        dict(context.timer.seconds),
        recorded=whole,
        warnings=recording.warnings,
    )


def whole_record(context: RunContext, recording: Recording) -> bool:
    """Return whether MLflow has the whole record of a check, and report what a reader must know about it."""
    whole = recording.recorded
    for sentence in recording.warnings:
        context.progress.message(sentence)
    return whole


def _reported(
    context: RunContext, recording: Recording, result: CalendarResult
) -> tuple[CalendarResult, Mapping[str, bytes], Path | None]:
    """Return the figures and the report of a result, and the result with a warning for what could not be made."""
    from pipeline.reporting.figures import draw_figures  # noqa: PLC0415  matplotlib, only when something is to be drawn
    from pipeline.reporting.report import write_report  # noqa: PLC0415

    figures: Mapping[str, bytes] = {}
    report = None
    try:
        figures = context.step(draw_figures, "figures")(result)
    except Exception as error:  # noqa: BLE001  a figure must not cost the numbers; the warning names it
        result = _warned(result, f"The figures could not be drawn ({_named(error)}); every number is complete.")
    folder, address = context.report_folder(recording.record.id), recording.url
    shown = _warned(result, *recording.warnings)
    try:
        report = context.step(write_report, "report")(shown, figures, folder, address)
    except Exception as error:  # noqa: BLE001  nor must the page
        result = _warned(result, f"The report could not be written ({_named(error)}); every number is complete.")
    return result, figures, report


def _warned(result: CalendarResult, *sentences: str) -> CalendarResult:
    return replace(result, warnings=(*result.warnings, *(sentence for sentence in sentences if sentence)))


def _named(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"


def _reports_in(settings: Settings) -> int:
    return sum(1 for path in settings.reports.iterdir()) if settings.reports.is_dir() else 0


def final_status(kind: type[BaseException]) -> RunStatus:
    """Return the status of a run that ended with an error of this kind."""
    return "FAILED" if issubclass(kind, Exception) else "KILLED"
