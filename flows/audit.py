"""The flow audit: the whole pipeline again on bars that are other ones after an origin; fails where it differs."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from prefect import flow
from prefect.artifacts import create_link_artifact, create_table_artifact

from flows.tasks import as_task
from flows.watching import LogWatch
from pipeline.audit.auditing import REAL, calendars_of
from pipeline.audit.auditing import audit as looked_at
from pipeline.audit.specification import AuditSpec
from pipeline.audit.steps import Setting, Steps
from pipeline.audit.verdict import Verdict, refuse_leak, table
from pipeline.dataset.covariates.exogenous import read_given
from pipeline.experiment import Experiment
from pipeline.market.source import Source, open_source
from pipeline.tracking.audits import log_audit, whole_table
from pipeline.tracking.store import prepare_store
from pipeline.workflow.context import Job, new_job
from pipeline.workflow.loading import refreshed_for
from pipeline.workflow.progress import Watch
from pipeline.workflow.recording import Recording
from pipeline.workflow.result import plain
from pipeline.workflow.tickers import spelled, universe_of, wanted_of
from pipeline.workflow.validation import door_terms

Row = dict[str, Any]
DEFAULT, EVERY_FOLD = Experiment(), AuditSpec()
TOLD_TIMES = 4


@dataclass(frozen=True)
class Audited:
    """The result of the flow as plain JSON values."""

    status: str
    verdict: str
    stages: list[Row]
    origins: list[str]
    remarks: list[str]
    mlflow_run_id: str
    mlflow_url: str
    seconds: dict[str, float] = field(default_factory=dict)

    def as_json(self) -> Row:
        """Return the object that --json prints."""
        return asdict(self)


def build_audit(watch: Watch, steps: Steps = REAL) -> Callable[..., Audited]:
    """Return the flow with someone watching: the terminal, or the log of a deployment; `steps` are audited."""

    @flow(name="audit", flow_run_name="audit {experiment.source.kind}", persist_result=False)
    def audit(experiment: Experiment = DEFAULT, spec: AuditSpec = EVERY_FOLD) -> Audited:
        """Look for leaks: replace everything after an origin, run all stages again, and compare what they hand on.

        Fails, naming the first stage, where anything that was known at an origin changes with what comes later.
        """
        job = new_job("audit", None, watch).looking_at(experiment.source)
        experiment = experiment.model_copy(update={"tickers": spelled(experiment.source, experiment.tickers)})
        with Recording(job.settings, "audit", experiment) as recording:
            with job.clock.stage("load"):
                source, settings = as_task(opened, "load")(job, experiment)
            with job.clock.stage("audit"):
                verdicts = [as_task(looked_at, f"audit {one.calendar}")(source, one, spec, steps, telling(watch))
                            for one in settings]  # fmt: skip
            recorded = recording.where()
            with job.clock.stage("record"):
                as_task(record, "record")(job, recorded.run_id, verdicts)
            show(verdicts, watch, recorded.url)
            for verdict in verdicts:
                refuse_leak(verdict)
        return summary(verdicts, (recorded.run_id, recorded.url), dict(job.clock.seconds))

    return audit


def opened(job: Job, experiment: Experiment) -> tuple[Source, list[Setting]]:
    """Return the source of the bars, and what is audited on it: a setting per calendar."""
    universe = universe_of(job.settings, experiment.source, experiment.universe) if experiment.universe else None
    named = universe.tickers if universe else experiment.tickers
    refreshed_for(job.settings, experiment.source, named, job.now)
    source = open_source(experiment.source, job.settings.prices)
    wanted = wanted_of(source, named)
    terms = door_terms(source, job.now, experiment.minimum_sessions)
    terms = replace(terms, currencies=source.currencies(wanted))
    given = read_given(experiment.sectors, experiment.covariates)
    calendars = calendars_of(source, wanted, terms)
    return source, [Setting(experiment, wanted, terms, calendar, universe, given) for calendar in calendars]


def telling(watch: Watch) -> Callable[[int, int], None]:
    """Return who is told a few times how far an audit is."""

    def told(done: int, of: int) -> None:
        if done * TOLD_TIMES // of > (done - 1) * TOLD_TIMES // of:
            watch.says(f"{done} of {of} comparisons")

    return told


def record(job: Job, run_id: str, verdicts: Sequence[Verdict]) -> None:
    """Write the verdicts into the audit's MLflow run."""
    settings = job.settings
    store = prepare_store(
        settings.mlflow_uri, settings.mlflow_artifacts, settings.mlflow_experiment, settings.mlflow_pages
    )
    log_audit(store, run_id, verdicts)


def show(verdicts: Sequence[Verdict], watch: Watch, url: str) -> None:
    """Print the verdict table, and make it a Prefect artifact."""
    for verdict in verdicts:
        watch.says(as_text(verdict))
    told = "What each stage handed on, compared between the bars as they are and tampered copies"
    create_table_artifact(stages_of(verdicts), key="audit-verdicts", description=told)
    if url.startswith("http"):
        create_link_artifact(url, key="mlflow-audit", link_text="MLflow run")


def stages_of(verdicts: Sequence[Verdict]) -> list[Row]:
    """Return the verdict tables as plain JSON values."""
    rows = whole_table(verdicts).to_dict("records")
    return [{str(name): plain(value) for name, value in row.items()} for row in rows]


def as_text(verdict: Verdict) -> str:
    """Return the verdict table as lines; where something differs is told in the sentence."""
    return table(verdict).drop(columns="first_difference").to_string(index=False)


def summary(verdicts: Sequence[Verdict], recorded: tuple[str, str], seconds: dict[str, float]) -> Audited:
    """Return the summary of an audit that found no leak."""
    return Audited(
        status="ok",
        verdict=" ".join(verdict.sentence for verdict in verdicts),
        stages=stages_of(verdicts),
        origins=[str(origin) for verdict in verdicts for origin in verdict.origins],
        remarks=list(dict.fromkeys(remark for verdict in verdicts for remark in verdict.remarks)),
        mlflow_run_id=recorded[0],
        mlflow_url=recorded[1],
        seconds=seconds,
    )


# What prefect.yaml deploys.
audit = build_audit(LogWatch())
