"""The flow tutorial: the tutorials' networks learned anew, each held against its mark; one verdict table tells all."""

from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import pandas as pd
from prefect import flow
from prefect.artifacts import create_link_artifact, create_table_artifact

from flows.tasks import as_task
from flows.watching import LogWatch
from pipeline.files import refuse_unwritable
from pipeline.settings import Settings
from pipeline.tracking.store import Store, run_url
from pipeline.tracking.tutorials import log_tutorial, log_verdicts, start_tutorials
from pipeline.tutorials.ohlc import OhlcTerms
from pipeline.tutorials.presets import TutorialName, tutorials
from pipeline.tutorials.teaching import Verdict, refuse_missed_marks, table, teach
from pipeline.workflow.progress import Stopwatch, Watch
from pipeline.workflow.recording import recorded
from pipeline.workflow.result import plain

Row = dict[str, Any]
Choice = TutorialName | Literal["all"]
TERMS = OhlcTerms()


@dataclass(frozen=True)
class Taught:
    """The result of the flow as plain JSON values."""

    status: str
    verdict: str
    tutorials: list[Row]
    mlflow_run_id: str
    mlflow_url: str
    figures: str
    seconds: dict[str, float] = field(default_factory=dict)

    def as_json(self) -> Row:
        """Return the object that --json prints."""
        return asdict(self)


def build_tutorial(watch: Watch) -> Callable[..., Taught]:
    """Return the flow with someone watching: the terminal, or the log of a deployment."""

    @flow(name="tutorial", flow_run_name="tutorial {name}", persist_result=False)
    def tutorial(name: Choice = "all", seed: int = 0, terms: OhlcTerms = TERMS, out: Path | None = None) -> Taught:
        """Learn one tutorial, or all, through the code of every run; fails when a stated mark is missed.

        `terms` are those of the tutorial on Open, High, Low and Close.
        """
        settings, clock, began = Settings(), Stopwatch(watch), datetime.now(UTC)
        for folder in (settings.root, *([out] if out else [])):
            refuse_unwritable(folder)
        with recorded(settings, lambda store: start_tutorials(store, name, seed)) as (store, run_id):
            verdicts = tuple(learned(one.name, clock, as_task(teach, one.name), one, seed)
                             for one in tutorials(name, terms))  # fmt: skip
            figures = out or settings.reports / f"{began:%Y-%m-%dT%H%M%S}-tutorial-{run_id[:8]}"
            with clock.stage("record"):
                as_task(record, "record")(store, run_id, verdicts, figures)
            show(verdicts, watch, run_url(store, run_id))
            refuse_missed_marks(verdicts)
            return summary(verdicts, (run_id, run_url(store, run_id)), figures, clock.seconds)

    return tutorial


def learned(name: str, clock: Stopwatch, teaching: Callable[..., Verdict], *given: object) -> Verdict:
    """Return the verdict on one tutorial, timed."""
    with clock.stage(name):
        return teaching(*given)


def record(store: Store, run_id: str, verdicts: tuple[Verdict, ...], folder: Path) -> None:
    """Write figures and table into a folder, and every tutorial into MLflow under the run."""
    from pipeline.reporting.tutorial_figures import draw_tutorials  # noqa: PLC0415  matplotlib, when there is something

    folder.mkdir(parents=True, exist_ok=True)
    figures = draw_tutorials(verdicts)
    for verdict, (name, image) in zip(verdicts, figures.items(), strict=True):
        (folder / name).write_bytes(image)
        log_tutorial(store, run_id, verdict, (name, image))
    table(verdicts).to_csv(folder / "verdict.csv", index=False)
    log_verdicts(store, run_id, verdicts)


def show(verdicts: tuple[Verdict, ...], watch: Watch, url: str) -> None:
    """Print the verdict table, and make it a Prefect artifact."""
    watch.says(as_text(table(verdicts)))
    told = "The tutorials' networks held against their marks"
    create_table_artifact(rows_of(table(verdicts)), key="tutorial-verdicts", description=told)
    if url.startswith("http"):
        create_link_artifact(url, key="mlflow-tutorials", link_text="MLflow run")


def as_text(frame: pd.DataFrame) -> str:
    """Return the verdict table as lines."""
    shown = frame.assign(passed=frame["passed"].map({True: "yes", False: "NO"}))
    return shown.to_string(index=False, na_rep="", float_format=lambda value: f"{value:.4g}")


def rows_of(frame: pd.DataFrame) -> list[Row]:
    """Return the verdict table as plain JSON values."""
    return [{str(name): plain(value) for name, value in row.items()} for row in frame.to_dict("records")]


def summary(
    verdicts: tuple[Verdict, ...], recorded: tuple[str, str], figures: Path, seconds: dict[str, float]
) -> Taught:
    """Return the summary of a run whose marks were all reached."""
    many = "All tutorials" if len(verdicts) > 1 else f"The tutorial {verdicts[0].tutorial.name}"
    verdict = f"{many} reached {'their marks' if len(verdicts) > 1 else 'its mark'}."
    return Taught("ok", verdict, rows_of(table(verdicts)), *recorded, str(figures), dict(seconds))


# What prefect.yaml deploys.
tutorial = build_tutorial(LogWatch())
