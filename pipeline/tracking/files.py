"""A run's artifacts, laid out in a folder that is then logged at once."""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from itertools import chain
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.evaluation.evaluation import Evaluation
from pipeline.forecasters.recurrent.specification import RecurrentSpec
from pipeline.forecasting.backtest import Backtest, forecast_frames
from pipeline.forecasting.forecasts import QUANTILE_COLUMNS
from pipeline.operation.result import CalendarResult
from pipeline.tracking.words import latest_results
from pipeline.training.cache import write_fitted
from pipeline.training.jobs import FitJob

BACKTEST = "backtest/forecasts.parquet"
FORECASTS = "forecasts/forecasts.parquet"
MODEL = "model"
TABLES = "tables"


def write_files(folder: Path, outcome: CalendarResult, figures: Mapping[str, bytes]) -> None:
    """Write everything but tables and the report: figures, experiment, model, forecasts as Parquet."""
    _write(folder / "experiment.json", outcome.experiment.model_dump_json(indent=1).encode())
    for name, image in figures.items():
        _write(folder / "figures" / name, image)
    write_model(folder / MODEL, outcome)
    if outcome.evaluation:
        write_backtest(folder / BACKTEST, outcome.evaluation.backtest)
    if outcome.forecasts is not None:
        _folder_of(folder / FORECASTS)
        outcome.forecasts.to_parquet(folder / FORECASTS, index=False)


def write_model(folder: Path, outcome: CalendarResult) -> None:
    """Write the latest fold's fits, a folder each as safetensors and JSON, and model.json to find them by."""
    results = latest_results(outcome)
    names = [_name_of(result.job) for result in results]
    for name, result in zip(names, results, strict=True):
        if result.fitted:
            write_fitted(folder / name, result.fitted, result.job)
    if results:
        keys = {name: result.job.key for name, result in zip(names, results, strict=True)}
        content = {
            "fold": outcome.folds[-1].name,
            "trained_until": str(outcome.folds[-1].validation.until),
            "market": list(outcome.frames.tickers),
            "fits": keys,
        }
        _write(folder / "model.json", json.dumps(content, indent=1).encode())


def _name_of(job: FitJob) -> str:
    """Return the folder of a fit: its kind and seed, and its ticker where each has a network of its own."""
    alone = isinstance(job.forecaster, RecurrentSpec) and job.forecaster.scope == "ticker"
    own = "_" + re.sub(r"[^A-Za-z0-9.-]", lambda letter: f"~{ord(letter[0]):x}", job.tickers[0]) if alone else ""
    return f"{job.forecaster.kind}_seed_{job.seed}{own}"


def write_backtest(path: Path, backtest: Backtest) -> None:
    """Write the backtest's forecasts as Parquet, a forecaster at a time: they are many.

    Quantiles are float32, as the forecasters gave them, with their bytes split: a third of the size of float64.
    """
    _folder_of(path)
    parts = (_narrow(frame) for frame in forecast_frames(backtest))
    first = next(parts)
    repeated = [name for name in first.column_names if name not in QUANTILE_COLUMNS]
    split = dict.fromkeys(QUANTILE_COLUMNS, "BYTE_STREAM_SPLIT")
    with pq.ParquetWriter(
        path, first.schema, compression="zstd", use_dictionary=repeated, column_encoding=split
    ) as writer:
        for part in chain([first], parts):
            writer.write_table(part.cast(first.schema))


def _narrow(frame: pd.DataFrame) -> pa.Table:
    return pa.Table.from_pandas(frame.astype(dict.fromkeys(QUANTILE_COLUMNS, "float32")), preserve_index=False)


def tables(outcome: CalendarResult) -> Iterator[tuple[str, pd.DataFrame]]:
    """Yield (name, frame) of the tables that the UI shows, without empty ones."""
    for name, frame in _tables(outcome):
        if len(frame):
            yield f"{TABLES}/{name}.json", _as_shown(frame)


def _tables(outcome: CalendarResult) -> Iterator[tuple[str, pd.DataFrame]]:
    if outcome.forecasts is not None:
        published = outcome.forecasts["published"]
        yield "forecasts", outcome.forecasts[published].drop(columns="published")
        yield "forecasts_of_others", outcome.forecasts[~published].drop(columns="published")
    if outcome.evaluation:
        yield from _evidence(outcome.evaluation)
    yield "left_out", pd.DataFrame([asdict(one) for one in outcome.left_out])
    yield "stale", pd.DataFrame([asdict(one) for one in outcome.stale])
    yield "problems", pd.DataFrame([asdict(one) for one in outcome.problems])


def _evidence(evaluation: Evaluation) -> Iterator[tuple[str, pd.DataFrame]]:
    yield "summary_table", evaluation.summary_table
    yield "scores", evaluation.scores
    yield "comparisons", evaluation.comparisons
    yield "echoes", pd.DataFrame([asdict(one) for one in evaluation.echoes.values()])
    yield "candidates", evaluation.candidates
    yield "signs", evaluation.signs
    yield "ranking", evaluation.ranking
    yield "deciles", evaluation.deciles
    yield "pit", evaluation.pit
    yield "coverage", evaluation.coverage
    yield "coverage_tests", evaluation.coverage_tests
    yield "money", evaluation.money_table
    if evaluation.direction is not None:
        yield "direction", evaluation.direction


def _as_shown(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the frame with dates as days: the UI would show them as instants."""
    dates = frame.select_dtypes("datetime").columns
    return frame.assign(**{name: frame[name].dt.strftime("%Y-%m-%d") for name in dates})


def _write(path: Path, content: bytes) -> None:
    _folder_of(path)
    path.write_bytes(content)


def _folder_of(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
