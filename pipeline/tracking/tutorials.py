"""Tutorials in MLflow: a parent run per command, and a child run per tutorial."""

from collections.abc import Iterator

import numpy as np

from pipeline.tracking.descriptions import NOTE_TAG
from pipeline.tracking.metrics import MetricValue, fit_values, flat_params, metric_name
from pipeline.tracking.runs import Record
from pipeline.training.cache import write_fitted
from pipeline.tutorials.data import MEASURES
from pipeline.tutorials.run import TutorialFit, TutorialResult, tutorial_forecasts, tutorial_table
from pipeline.wording import markdown_frame

TUTORIAL = "tutorial"
RESULT_TABLE = "tables/results.json"


def start_tutorials(record: Record, name: str, seed: int) -> None:
    """Start the run under which tutorials are recorded; the caller ends it."""
    tags = {
        "tapecast.kind": TUTORIAL,
        "mlflow.source.name": f"tapecast {TUTORIAL} {name}",
        "mlflow.source.type": "JOB",
        NOTE_TAG: f"The tutorials' networks ({name}): running, no results yet.",
    }
    record.start(f"{TUTORIAL} {name}", tags)
    record.write(params={"tutorial": name, "seed": str(seed)})


def log_tutorial(parent: Record, result: TutorialResult, figure: tuple[str, bytes]) -> None:
    """Write a tutorial as a run below the parent, its figure (file name, content) too.

    It is FINISHED where the mark was reached, else FAILED.
    """
    record = parent.child(result.tutorial.name)
    record.start(result.tutorial.name, _tags(result), once=True)
    record.write([*_measures(result), *_losses(result)], _params(result))
    record.tables([(RESULT_TABLE, tutorial_table((result,))), ("tables/scores.json", result.median_fit.score.scores)])
    _log_files(record, result.median_fit, figure)
    record.end("FINISHED" if result.passed else "FAILED")


def log_tutorial_table(record: Record, results: tuple[TutorialResult, ...]) -> None:
    """Write the table of results, its sentence and every tutorial's measure into the parent run."""
    values = [
        MetricValue(f"{metric_name(result.tutorial.name)}/{key}", value)
        for result in results
        for key, value in (("found", result.found), ("mark", result.tutorial.mark), ("seconds", result.seconds))
    ]
    passed = sum(result.passed for result in results)
    short = f"{passed} of {len(results)} passed"
    record.write(values, tags={"tapecast.verdict": short, NOTE_TAG: tutorials_note(results)})
    record.tables([(RESULT_TABLE, tutorial_table(results))])


def tutorials_note(results: tuple[TutorialResult, ...]) -> str:
    """Return the description of the parent run as markdown, the result first."""
    passed = sum(result.passed for result in results)
    return (
        f"**{passed} of {len(results)} tutorials reached their mark.**\n\n{markdown_frame(tutorial_table(results))}\n\n"
        "Found is the measure on data that was not trained on, or read again; it passes where it is not above the "
        "mark. No forecast is expected below the floor. Seconds are those of one core. Each tutorial is a child run "
        "with its figure, loss curve, forecasts and model."
    )


def tutorial_note(result: TutorialResult) -> str:
    """Return the description of a tutorial's run as markdown."""
    tutorial, score = result.tutorial, result.median_fit.score
    word = "reached its mark" if result.passed else "MISSED its mark"
    others = "\n".join(f"- {name}: {value:.4g}" for name, value in score.other_measures.items())
    seeds = f" It is the median of {len(result.fits)} seeds." if len(result.fits) > 1 else ""
    starts = f" Of {tutorial.starts} starts the one with the smallest loss was used." if tutorial.starts > 1 else ""
    parts = (
        f"**{tutorial.name} {word}: {tutorial.measure} {result.found:.4g}, the mark is {tutorial.mark:g}.**",
        f"{tutorial.description[:1].upper()}{tutorial.description[1:]}.",
        f"The measure is the {MEASURES[tutorial.measure]}, on the test.{seeds}{starts}{_floor(result)}",
        tutorial.remark,
        f"Other measures:\n{others}",
        "Contents: `figures` (actual and forecast, loss, scatter); `fit_loss` by step; "
        f"`{RESULT_TABLE}`; `forecasts` (Parquet: forecast and actual); `model` (safetensors and JSON).",
    )
    return "\n\n".join(part for part in parts if part)


def _floor(result: TutorialResult) -> str:
    floor = result.median_fit.data.floor
    return "" if np.isnan(floor) else f" No forecast is expected below {floor:.4g}."


def _tags(result: TutorialResult) -> dict[str, str]:
    return {
        "tapecast.kind": TUTORIAL,
        "tapecast.tutorial": result.tutorial.name,
        "tapecast.verdict": "passed" if result.passed else "missed",
        "tapecast.measure": result.tutorial.measure,
        "tapecast.found": f"{result.found:.6g}",
        "tapecast.mark": f"{result.tutorial.mark:g}",
        NOTE_TAG: tutorial_note(result),
    }


def _params(result: TutorialResult) -> dict[str, str]:
    tutorial = result.tutorial
    values: dict[str, object] = {
        "network": tutorial.network.model_dump(mode="json"),
        "training": tutorial.training.model_dump(mode="json"),
        "seeds": [fit.job.seed for fit in result.fits],
        "starts": tutorial.starts,
        "measure": tutorial.measure,
        "mark": tutorial.mark,
        "data_digest": result.median_fit.job.data_digest,
    }
    return flat_params(values)


def _measures(result: TutorialResult) -> Iterator[MetricValue]:
    yield from (MetricValue("test/found", result.found), MetricValue("test/mark", result.tutorial.mark))
    yield MetricValue("test/floor", result.median_fit.data.floor)
    yield MetricValue("seconds", result.seconds)
    for fit in result.fits:
        yield MetricValue(f"test/found_seed_{fit.job.seed}", fit.score.found)
    for name, value in result.median_fit.score.other_measures.items():
        yield MetricValue(f"test/{metric_name(name)}", value)


def _losses(result: TutorialResult) -> Iterator[MetricValue]:
    for fit in result.fits:
        yield from fit_values([fit.network], fit.job.seed)


def _log_files(record: Record, fit: TutorialFit, figure: tuple[str, bytes]) -> None:
    name, image = figure
    with record.files() as folder:
        for part in ("figures", "forecasts"):
            (folder / part).mkdir()
        (folder / "figures" / name).write_bytes(image)
        tutorial_forecasts(fit).to_parquet(folder / "forecasts" / "forecasts.parquet", index=False)
        write_fitted(folder / "model", fit.network, fit.job)
