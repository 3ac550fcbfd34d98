"""The tutorials: their networks are fitted again, and each is compared with its mark."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Literal

from pipeline.tracking.store import Store, run_url
from pipeline.tracking.tutorials import log_tutorial, log_tutorial_table, start_tutorials
from pipeline.tutorials.ohlc import OhlcSpec
from pipeline.tutorials.presets import TutorialName, tutorials
from pipeline.tutorials.run import TutorialResult, refuse_missed_marks, run_tutorial, tutorial_table
from pipeline.wording import text_table
from pipeline.workflow.context import RunContext
from pipeline.workflow.recording import recorded
from pipeline.workflow.result import Row, plain_rows

TutorialChoice = TutorialName | Literal["all"]


@dataclass(frozen=True)
class TutorialsSummary:
    """The result of the tutorials as plain JSON values."""

    verdict: str
    tutorials: list[Row]
    mlflow_run_id: str
    mlflow_url: str
    figures: str
    seconds: dict[str, float] = field(default_factory=dict)
    status: str = "ok"

    def as_json(self) -> Row:
        """Return the object that --json prints."""
        return asdict(self)

    def tables(self) -> Mapping[str, list[Row]]:
        """Return every tutorial with its measure and mark."""
        return {"tutorials": self.tutorials}


ShowTutorials = Callable[[Sequence[TutorialResult], str], None]
"""Receives the results and the run's address before a missed mark ends the tutorials."""


def run_tutorials(
    context: RunContext, name: TutorialChoice, seed: int, terms: OhlcSpec, show: ShowTutorials
) -> TutorialsSummary:
    """Return the summary of tutorials that all reached their marks; raises SanityError where one is missed.

    `terms` are those of the tutorial on Open, High, Low and Close; `show` receives the results in either case.
    """
    with recorded(context.settings, lambda store: start_tutorials(store, name, seed)) as (store, run_id):
        verdicts = []
        for tutorial in tutorials(name, terms):
            with context.timer.stage(tutorial.name):
                verdicts.append(context.step(run_tutorial, tutorial.name)(tutorial, seed))
        folder, url = context.report_folder(run_id), run_url(store, run_id)
        with context.timer.stage("record"):
            context.step(_record, "record")(store, run_id, tuple(verdicts), folder)
        show(verdicts, url)
        refuse_missed_marks(tuple(verdicts))
    return TutorialsSummary(
        verdict=_sentence(verdicts),
        tutorials=plain_rows(tutorial_table(tuple(verdicts))),
        mlflow_run_id=run_id,
        mlflow_url=url,
        figures=str(folder),
        seconds=dict(context.timer.seconds),
    )


def _record(store: Store, run_id: str, verdicts: tuple[TutorialResult, ...], folder: Path) -> None:
    """Write figures and table into a folder, and every tutorial into MLflow under the run."""
    from pipeline.reporting.tutorial_figures import draw_tutorials  # noqa: PLC0415  matplotlib, when there is something

    folder.mkdir(parents=True, exist_ok=True)
    figures = draw_tutorials(verdicts)
    for verdict, (name, image) in zip(verdicts, figures.items(), strict=True):
        (folder / name).write_bytes(image)
        log_tutorial(store, run_id, verdict, (name, image))
    tutorial_table(verdicts).to_csv(folder / "verdict.csv", index=False)
    log_tutorial_table(store, run_id, verdicts)


def _sentence(verdicts: Sequence[TutorialResult]) -> str:
    many = len(verdicts) > 1
    which = "All tutorials" if many else f"The tutorial {verdicts[0].tutorial.name}"
    return f"{which} reached {'their marks' if many else 'its mark'}."


def tutorials_text(verdicts: Sequence[TutorialResult]) -> str:
    """Return the table of the tutorials as lines."""
    return text_table(tutorial_table(tuple(verdicts)))
