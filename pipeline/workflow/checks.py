"""The use cases that check the whole pipeline: the leak audit and the sanity suite."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial

from pipeline.audit.auditing import DEFAULT_STEPS, audit_source, validated_bars
from pipeline.audit.origins import AuditSpec
from pipeline.audit.result import AuditResult, audit_table, refuse_leak
from pipeline.audit.steps import RunInputs, Steps
from pipeline.dataset.covariates.from_files import read_file_covariates
from pipeline.experiment import Experiment
from pipeline.market.bars import CalendarMismatch
from pipeline.market.sources import Source, open_source
from pipeline.market.validation.validate import terms_for
from pipeline.sanity.checks import SanityCheck, refuse_out_of_range, sanity_sentence, sanity_table
from pipeline.sanity.popular import popular_on_sample
from pipeline.sanity.suite import suite
from pipeline.tracking.check_records import combined_audit_table, log_audit, log_checks, start_sanity
from pipeline.wording import text_table
from pipeline.workflow.loading import updated
from pipeline.workflow.progress import Progress
from pipeline.workflow.recording import recorded, recorded_experiment, whole_record
from pipeline.workflow.result import JsonObject, json_rows
from pipeline.workflow.run_context import RunContext
from pipeline.workflow.tickers import requested_tickers, spelled, universe_of
from pipeline.workflow.validation import mismatch_rows

REPORTED_TIMES = 4


@dataclass(frozen=True)
class AuditSummary:
    """The result of a leak audit as plain JSON values; "partial" where bars do not fit their calendar."""

    status: str
    calendar_mismatches: list[JsonObject]
    verdict: str
    stages: list[JsonObject]
    origins: list[str]
    remarks: list[str]
    mlflow_run_id: str | None
    mlflow_url: str | None
    recorded: bool
    seconds: dict[str, float] = field(default_factory=dict)

    def as_json(self) -> JsonObject:
        """Return the object that --json prints."""
        return asdict(self)

    def tables(self) -> Mapping[str, list[JsonObject]]:
        """Return the comparison of every stage."""
        return {"audit": self.stages}


ShowAudit = Callable[[Sequence[AuditResult], str | None], None]
"""Receives the results and the run's address before a leak ends the audit."""


def audit(
    context: RunContext, experiment: Experiment, spec: AuditSpec, show: ShowAudit, steps: Steps = DEFAULT_STEPS
) -> AuditSummary:
    """Return the summary of an audit that found no leak; raises SanityError, naming the first stage, where one does.

    Everything after an origin is replaced, all stages run again, and their outputs are compared. `show` receives the
    results in either case; `steps` are the stages that are audited.
    """
    context = context.as_of(experiment.source)
    experiment = experiment.model_copy(update={"tickers": spelled(experiment.source, experiment.tickers)})
    with recorded_experiment(context.settings, "audit", experiment) as recording:
        with context.timer.stage("load"):
            source, settings, mismatches = context.step(_opened, "load")(context, experiment)
        for mismatch in mismatches:
            context.progress.message(str(mismatch))
        with context.timer.stage("audit"):
            report = reported(context.progress)
            results = [
                context.step(audit_source, f"audit {inputs.calendar}")(source, inputs, spec, steps, report)
                for inputs in settings
            ]
        with context.timer.stage("record"):
            context.step(log_audit, "record")(recording.record, results)
            whole = whole_record(context, recording)
        show(results, recording.url)
        for result in results:
            refuse_leak(result)
    return AuditSummary(
        status="partial" if mismatches else "ok",
        calendar_mismatches=mismatch_rows(mismatches),
        verdict=" ".join(result.sentence for result in results),
        stages=json_rows(combined_audit_table(results)),
        origins=[str(origin) for result in results for origin in result.origins],
        remarks=list(dict.fromkeys(remark for result in results for remark in result.remarks)),
        mlflow_run_id=recording.run_id,
        mlflow_url=recording.url,
        recorded=whole,
        seconds=dict(context.timer.seconds),
    )


def _opened(
    context: RunContext, experiment: Experiment
) -> tuple[Source, list[RunInputs], tuple[CalendarMismatch, ...]]:
    """Return the source of the bars, what is audited on it (a setting per calendar), and calendars that do not fit."""
    settings, source = context.settings, experiment.source
    universe = universe_of(settings, source, experiment.universe) if experiment.universe else None
    named = universe.tickers if universe else experiment.tickers
    updated(context, source, named)
    opened = open_source(source, settings.prices)
    tickers = requested_tickers(opened, named)
    terms = terms_for(opened, tickers, context.now, experiment.minimum_sessions)
    file_covariates = read_file_covariates(experiment.sectors, experiment.covariates)
    validated = validated_bars(opened, tickers, terms)
    inputs = [
        RunInputs(experiment, tickers, terms, calendar, universe, file_covariates)
        for calendar in validated.bars.calendars
    ]
    return opened, inputs, validated.calendar_mismatches


def reported(progress: Progress) -> Callable[[int, int], None]:
    """Return a function that reports a few times how many comparisons are done."""

    def report(done: int, of: int) -> None:
        if done * REPORTED_TIMES // of > (done - 1) * REPORTED_TIMES // of:
            progress.message(f"{done} of {of} comparisons")

    return report


def audit_text(result: AuditResult) -> str:
    """Return the table of an audit as lines; where something differs is said in its sentence."""
    return text_table(audit_table(result).drop(columns="first_difference"))


@dataclass(frozen=True)
class SanitySummary:
    """The result of the sanity suite as plain JSON values."""

    verdict: str
    checks: list[JsonObject]
    mlflow_run_id: str | None
    mlflow_url: str | None
    recorded: bool
    seconds: dict[str, float] = field(default_factory=dict)
    status: str = "ok"

    def as_json(self) -> JsonObject:
        """Return the object that --json prints."""
        return asdict(self)

    def tables(self) -> Mapping[str, list[JsonObject]]:
        """Return every check with its range."""
        return {"sanity": self.checks}


ShowChecks = Callable[[Sequence[SanityCheck], str | None], None]
"""Receives the checks and the run's address before one that is out of range ends the suite."""


def sanity(context: RunContext, seed: int, seeds: int, show: ShowChecks, steps: Steps | None = None) -> SanitySummary:
    """Return the summary of a suite whose checks are all in range; raises SanityError where one is not.

    `seeds` is how often data without signal is examined; `show` receives the checks in either case; `steps` are the
    stages that are checked.
    """
    timer = context.timer
    parts = suite(seed, seeds, steps or Steps())
    start = partial(start_sanity, seed=seed, seeds=seeds)
    with recorded(context.settings, f"sanity {seed} {seeds}", start) as recording:
        checks: list[SanityCheck] = []
        for name, part in parts.items():
            with timer.stage(name):
                checks += context.step(part, name)()
        with timer.stage("popular accuracy"):
            figures = context.step(popular_figures, "popular accuracy")()
        with timer.stage("record"):
            context.step(log_checks, "record")(recording.record, checks, figures, dict(timer.seconds))
            whole = whole_record(context, recording)
        run_id, url = recording.run_id, recording.url
        show(checks, url)
        refuse_out_of_range(checks)
    rows = json_rows(sanity_table(checks))
    return SanitySummary(sanity_sentence(checks), rows, run_id, url, whole, dict(timer.seconds))


def popular_figures() -> dict[str, bytes]:
    """Return the figure of the popular "accuracy" by its file name."""
    from pipeline.reporting.canvas import png_bytes  # noqa: PLC0415
    from pipeline.reporting.price_line_figures import draw_popular_accuracy  # noqa: PLC0415  matplotlib, when it draws

    return {"popular_accuracy.png": png_bytes(draw_popular_accuracy(popular_on_sample()))}


def checks_text(checks: Sequence[SanityCheck]) -> str:
    """Return the table of the sanity suite as lines, for a log."""
    return text_table(sanity_table(checks).drop(columns="remark"))
