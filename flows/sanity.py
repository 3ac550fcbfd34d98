"""The flow sanity: planted signals are found, in noise nothing is, planted leaks are caught; one table tells all."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from prefect import flow
from prefect.artifacts import create_link_artifact, create_table_artifact

from flows.tasks import as_task
from flows.watching import LogWatch
from pipeline.audit.steps import Steps
from pipeline.files import refuse_unwritable
from pipeline.sanity.check import Check, refuse_out_of_range, table, verdict_sentence
from pipeline.sanity.popular import popular_on_sample
from pipeline.sanity.suite import Part, suite
from pipeline.settings import Settings
from pipeline.tracking.sanity import log_checks, start_sanity
from pipeline.tracking.store import run_url
from pipeline.workflow.progress import Stopwatch, Watch
from pipeline.workflow.recording import recorded
from pipeline.workflow.result import plain

Row = dict[str, Any]
Show = Callable[[Sequence[Check]], None]
REAL = Steps()


@dataclass(frozen=True)
class Checked:
    """The result of the flow as plain JSON values."""

    status: str
    verdict: str
    checks: list[Row]
    mlflow_run_id: str
    mlflow_url: str
    seconds: dict[str, float] = field(default_factory=dict)

    def as_json(self) -> Row:
        """Return the object that --json prints."""
        return asdict(self)


def build_sanity(watch: Watch, show: Show, steps: Steps = REAL) -> Callable[..., Checked]:
    """Return the flow with someone watching and a way to show its table, passed or not; `steps` are held to it."""

    @flow(name="sanity", flow_run_name="sanity seed {seed}", persist_result=False)
    def sanity(seed: int = 0, seeds: int = 20) -> Checked:
        """Run the sanity suite through the code of every run; fails when a number is out of its range.

        `seeds` is how often nothing has to be found in random walks and shuffled returns.
        """
        settings, clock = Settings(), Stopwatch(watch)
        refuse_unwritable(settings.root)
        parts = suite(seed, seeds, steps)
        with recorded(settings, lambda store: start_sanity(store, seed, seeds)) as (store, run_id):
            checks = tuple(one for name, part in parts.items() for one in timed(name, clock, part))
            with clock.stage("popular accuracy"):
                figures = as_task(popular_figures, "popular accuracy")()
            with clock.stage("record"):
                as_task(log_checks, "record")(store, run_id, checks, figures, dict(clock.seconds))
            show(checks)
            make_artifacts(checks, run_url(store, run_id))
            refuse_out_of_range(checks)
        url = run_url(store, run_id)
        return Checked("ok", verdict_sentence(checks), rows_of(checks), run_id, url, dict(clock.seconds))

    return sanity


def timed(name: str, clock: Stopwatch, part: Part) -> tuple[Check, ...]:
    """Return the checks of one part of the suite, run as a task."""
    with clock.stage(name):
        return as_task(part, name)()


def popular_figures() -> dict[str, bytes]:
    """Return the figure of the popular "accuracy" by its file name."""
    from pipeline.reporting.accuracy_figure import draw_popular_accuracy  # noqa: PLC0415  matplotlib, when it draws
    from pipeline.reporting.canvas import png_bytes  # noqa: PLC0415

    return {"popular_accuracy.png": png_bytes(draw_popular_accuracy(popular_on_sample()))}


def make_artifacts(checks: Sequence[Check], url: str) -> None:
    """Make the table a Prefect artifact, and the MLflow run a link."""
    told = f"{verdict_sentence(checks)} Each number found has to lie from low to high."
    create_table_artifact(rows_of(checks), key="sanity-checks", description=told)
    if url.startswith("http"):
        create_link_artifact(url, key="mlflow-sanity", link_text="MLflow run")


def rows_of(checks: Sequence[Check]) -> list[Row]:
    """Return the checks as plain JSON values."""
    return [{str(name): plain(value) for name, value in row.items()} for row in table(checks).to_dict("records")]


def as_text(checks: Sequence[Check]) -> str:
    """Return the table as lines, for a log."""
    shown = table(checks).drop(columns="remark")
    shown["passed"] = shown["passed"].map({True: "yes", False: "NO"})
    return str(shown.to_string(index=False, na_rep="", float_format=lambda value: f"{value:.4g}"))


def into_the_log(checks: Sequence[Check]) -> None:
    """Write the table into the log of the Prefect run."""
    LogWatch().says(as_text(checks))


# What prefect.yaml deploys.
sanity = build_sanity(LogWatch(), into_the_log)
