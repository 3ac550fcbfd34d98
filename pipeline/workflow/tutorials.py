"""The tutorials: their networks are fitted again, and each is compared with its mark."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Literal

from pipeline.tracking.runs import Record
from pipeline.tracking.tutorials import log_tutorial, log_tutorial_table, start_tutorials
from pipeline.tutorials.ohlc import OhlcSpec
from pipeline.tutorials.presets import TutorialName, tutorials
from pipeline.tutorials.run import TutorialResult, refuse_missed_marks, run_tutorial, tutorial_table
from pipeline.wording import text_table
from pipeline.workflow.recording import recorded, whole_record
from pipeline.workflow.result import JsonObject, json_rows
from pipeline.workflow.run_context import RunContext

TutorialChoice = TutorialName | Literal["all"]


@dataclass(frozen=True)
class TutorialsSummary:
    """The result of the tutorials as plain JSON values."""

    verdict: str
    tutorials: list[JsonObject]
    mlflow_run_id: str | None
    mlflow_url: str | None
    recorded: bool
    figures: str
    seconds: dict[str, float] = field(default_factory=dict)
    status: str = "ok"

    def as_json(self) -> JsonObject:
        """Return the object that --json prints."""
        return asdict(self)

    def tables(self) -> Mapping[str, list[JsonObject]]:
        """Return every tutorial with its measure and mark."""
        return {"tutorials": self.tutorials}


ShowTutorials = Callable[[Sequence[TutorialResult], str | None], None]
"""Receives the results and the run's address before a missed mark ends the tutorials."""


def run_tutorials(
    context: RunContext, name: TutorialChoice, seed: int, terms: OhlcSpec, show: ShowTutorials
) -> TutorialsSummary:
    """Return the summary of tutorials that all reached their marks; raises SanityError where one is missed.

    `terms` are those of the tutorial on Open, High, Low and Close; `show` receives the results in either case.
    """
    start = partial(start_tutorials, name=name, seed=seed)
    with recorded(context.settings, f"tutorial {name} {seed} {terms}", start) as recording:
        results = []
        for tutorial in tutorials(name, terms):
            with context.timer.stage(tutorial.name):
                results.append(context.step(run_tutorial, tutorial.name)(tutorial, seed))
        folder = context.report_folder(recording.record.id)
        with context.timer.stage("record"):
            context.step(_record, "record")(recording.record, tuple(results), folder)
            whole = whole_record(context, recording)
        run_id, url = recording.run_id, recording.url
        show(results, url)
        refuse_missed_marks(tuple(results))
    return TutorialsSummary(
        verdict=_sentence(results),
        tutorials=json_rows(tutorial_table(tuple(results))),
        mlflow_run_id=run_id,
        mlflow_url=url,
        recorded=whole,
        figures=str(folder),
        seconds=dict(context.timer.seconds),
    )


def _record(record: Record, results: tuple[TutorialResult, ...], folder: Path) -> None:
    """Write figures and table into a folder, and every tutorial into MLflow under the run."""
    from pipeline.reporting.tutorial_figures import draw_tutorials  # noqa: PLC0415  matplotlib, when there is something

    folder.mkdir(parents=True, exist_ok=True)
    figures = draw_tutorials(results)
    for result, (name, image) in zip(results, figures.items(), strict=True):
        (folder / name).write_bytes(image)
        log_tutorial(record, result, (name, image))
    tutorial_table(results).to_csv(folder / "results.csv", index=False)
    log_tutorial_table(record, results)


def _sentence(results: Sequence[TutorialResult]) -> str:
    many = len(results) > 1
    which = "All tutorials" if many else f"The tutorial {results[0].tutorial.name}"
    return f"{which} reached {'their marks' if many else 'its mark'}."


def tutorials_text(results: Sequence[TutorialResult]) -> str:
    """Return the table of the tutorials as lines."""
    return text_table(tutorial_table(tuple(results)))
