"""Tutorials in MLflow: a run for what was asked, and a run under it for every tutorial."""

import re
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
from mlflow.tracking import MlflowClient

from pipeline.tracking.runs import child_run, create_run, end_run, write_batches
from pipeline.tracking.store import Store, open_client, translated
from pipeline.tracking.values import Point, fit_points, flat_params
from pipeline.tracking.words import LONGEST_TAG, NOTE, markdown_table
from pipeline.training.cache import write_fitted
from pipeline.tutorials.data import MEASURES
from pipeline.tutorials.run import TutorialFit, TutorialResult, tutorial_forecasts, tutorial_table

KIND = "tutorial"
VERDICT_TABLE = "tables/verdict.json"


def start_tutorials(store: Store, name: str, seed: int) -> str:
    """Return the id of a new run, RUNNING, under which tutorials are recorded; end it yourself."""
    with translated(store.uri, "start a run"):
        client = open_client(store.uri)
        tags = {
            "tapecast.kind": KIND,
            "mlflow.source.name": f"tapecast {KIND} {name}",
            "mlflow.source.type": "JOB",
            NOTE: f"The tutorials' networks ({name}): under way, nothing found yet.",
        }
        run_id = create_run(client, store, f"{KIND} {name}", tags)
        write_batches(client, run_id, params={"tutorial": name, "seed": str(seed)})
        return run_id


def log_tutorial(store: Store, parent: str, verdict: TutorialResult, figure: tuple[str, bytes]) -> str:
    """Write a tutorial as a run under the parent, its figure (file name, content) too, and return the run's id.

    It is FINISHED where the mark was reached, else FAILED.
    """
    with translated(store.uri, f"write the tutorial {verdict.tutorial.name}"):
        client = open_client(store.uri)
        with child_run(client, store, parent, verdict.tutorial.name, _tags(verdict)) as run_id:
            write_batches(client, run_id, [*_results(verdict), *_losses(verdict)], _params(verdict))
            client.log_table(run_id, tutorial_table((verdict,)), VERDICT_TABLE)
            client.log_table(run_id, verdict.median_fit.score.scores, "tables/scores.json")
            _log_files(client, run_id, verdict.median_fit, figure)
        if not verdict.passed:
            end_run(client, run_id, "FAILED")
        return run_id


def log_verdicts(store: Store, run_id: str, verdicts: tuple[TutorialResult, ...]) -> None:
    """Write the verdict table, its sentence and the tutorials' figures of merit into the parent run."""
    with translated(store.uri, f"write run {run_id}"):
        client = open_client(store.uri)
        points = [
            Point(f"{metric_name(verdict.tutorial.name)}/{key}", value)
            for verdict in verdicts
            for key, value in (("found", verdict.found), ("mark", verdict.tutorial.mark), ("seconds", verdict.seconds))
        ]
        passed = sum(verdict.passed for verdict in verdicts)
        short = f"{passed} of {len(verdicts)} passed"
        write_batches(client, run_id, points, tags={"tapecast.verdict": short, NOTE: verdicts_note(verdicts)})
        client.log_table(run_id, tutorial_table(verdicts), VERDICT_TABLE)


def verdicts_note(verdicts: tuple[TutorialResult, ...]) -> str:
    """Return the description of the parent run as markdown: the verdict first."""
    passed = sum(verdict.passed for verdict in verdicts)
    return (
        f"**{passed} of {len(verdicts)} tutorials reached their mark.**\n\n{markdown(tutorial_table(verdicts))}\n\n"
        "Found is the measure on what was not trained on, or read again; it passes where it is not above the mark. No "
        "forecast is expected below the floor. Seconds are those of one core. Each tutorial is a run under this one, "
        "with its figure, loss curve, forecasts and model."
    )


def tutorial_note(verdict: TutorialResult) -> str:
    """Return the description of a tutorial's run as markdown."""
    tutorial, score = verdict.tutorial, verdict.median_fit.score
    word = "reached its mark" if verdict.passed else "MISSED its mark"
    beside = "\n".join(f"- {name}: {value:.4g}" for name, value in score.other_measures.items())
    several = f" It is the median of {len(verdict.fits)} seeds." if len(verdict.fits) > 1 else ""
    starts = f" Of {tutorial.starts} starts the one with the least loss was kept." if tutorial.starts > 1 else ""
    parts = (
        f"**{tutorial.name} {word}: {tutorial.measure} {verdict.found:.4g}, the mark is {tutorial.mark:g}.**",
        f"{tutorial.description[:1].upper()}{tutorial.description[1:]}.",
        f"The measure is the {MEASURES[tutorial.measure]}, on the test.{several}{starts}{_floor(verdict)}",
        tutorial.remark,
        f"Beside it:\n{beside}",
        "Where to look: `figures` (truth against forecast, loss, scatter); `fit_loss` by step; `tables/verdict.json`; "
        "`forecasts` (Parquet: forecast and actual); `model` (safetensors and JSON).",
    )
    return "\n\n".join(part for part in parts if part)


def _floor(verdict: TutorialResult) -> str:
    floor = verdict.median_fit.data.floor
    return "" if np.isnan(floor) else f" No forecast is expected below {floor:.4g}."


def markdown(frame: pd.DataFrame) -> str:
    """Return a table as markdown."""
    rows = frame.astype(object).to_numpy().tolist()
    return markdown_table(list(frame.columns), [[_cell(value) for value in row] for row in rows])


def _cell(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "**no**"
    return "" if value is None or value != value else str(value)  # noqa: PLR0124  NaN is not itself


def _tags(verdict: TutorialResult) -> dict[str, str]:
    tags = {
        "tapecast.kind": KIND,
        "tapecast.tutorial": verdict.tutorial.name,
        "tapecast.verdict": "passed" if verdict.passed else "missed",
        "tapecast.measure": verdict.tutorial.measure,
        "tapecast.found": f"{verdict.found:.6g}",
        "tapecast.mark": f"{verdict.tutorial.mark:g}",
        NOTE: tutorial_note(verdict),
    }
    return {name: text[:LONGEST_TAG] for name, text in tags.items()}


def _params(verdict: TutorialResult) -> dict[str, str]:
    tutorial = verdict.tutorial
    values: dict[str, object] = {
        "network": tutorial.network.model_dump(mode="json"),
        "training": tutorial.training.model_dump(mode="json"),
        "seeds": [one.job.seed for one in verdict.fits],
        "starts": tutorial.starts,
        "measure": tutorial.measure,
        "mark": tutorial.mark,
        "data_digest": verdict.median_fit.job.data_digest,
    }
    return flat_params(values)


def _results(verdict: TutorialResult) -> Iterator[Point]:
    yield from (Point("test/found", verdict.found), Point("test/mark", verdict.tutorial.mark))
    yield Point("test/floor", verdict.median_fit.data.floor)
    yield Point("seconds", verdict.seconds)
    for one in verdict.fits:
        yield Point(f"test/found_seed_{one.job.seed}", one.score.found)
    for name, value in verdict.median_fit.score.other_measures.items():
        yield Point(f"test/{metric_name(name)}", value)


def _losses(verdict: TutorialResult) -> Iterator[Point]:
    for one in verdict.fits:
        yield from fit_points([one.network], one.job.seed)


def metric_name(text: str) -> str:
    """Return a text as the name of a metric."""
    return re.sub(r"[^A-Za-z0-9]+", "_", text)


def _log_files(client: MlflowClient, run_id: str, fit: TutorialFit, figure: tuple[str, bytes]) -> None:
    name, image = figure
    with tempfile.TemporaryDirectory(prefix="tapecast-") as made:
        folder = Path(made)
        for part in ("figures", "forecasts"):
            (folder / part).mkdir()
        (folder / "figures" / name).write_bytes(image)
        tutorial_forecasts(fit).to_parquet(folder / "forecasts" / "forecasts.parquet", index=False)
        write_fitted(folder / "model", fit.network, fit.job)
        client.log_artifacts(run_id, str(folder))
