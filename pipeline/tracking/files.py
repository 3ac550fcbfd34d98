"""A run's artifacts, written into a folder that is logged in one call, and its tables."""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from itertools import chain
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.evaluation.contribution import Contribution, share_table, weight_table
from pipeline.evaluation.evaluation import Evaluation
from pipeline.forecasters.registry import forecaster_of
from pipeline.forecasting.backtest import Backtest, forecast_frames
from pipeline.forecasting.forecasts import QUANTILE_COLUMNS
from pipeline.operation.result import CalendarResult
from pipeline.tracking.descriptions import latest_results
from pipeline.training.cache import write_fitted
from pipeline.training.jobs import FitJob

BACKTEST = "backtest/forecasts.parquet"
WEIGHTS = "backtest/weights.parquet"
FORECASTS = "forecasts/forecasts.parquet"
MODEL = "model"
TABLES = "tables"


def write_files(folder: Path, result: CalendarResult, figures: Mapping[str, bytes]) -> None:
    """Write everything except tables and the report: figures, experiment, model, forecasts as Parquet."""
    _write(folder / "experiment.json", result.experiment.model_dump_json(indent=1).encode())
    for name, image in figures.items():
        _write(folder / "figures" / name, image)
    write_model(folder / MODEL, result)
    if result.evaluation:
        write_backtest(folder / BACKTEST, result.evaluation.backtest)
        if len(weights := weight_table(result.evaluation.backtest)):
            weights.to_parquet(folder / WEIGHTS, index=False)
    if result.forecasts is not None:
        _make_folder(folder / FORECASTS)
        result.forecasts.to_parquet(folder / FORECASTS, index=False)


def write_model(folder: Path, result: CalendarResult) -> None:
    """Write the latest fold's fits, a folder each as safetensors and JSON, and model.json, which lists them."""
    results = latest_results(result)
    names = [_name_of(fit_result.job) for fit_result in results]
    for name, fit_result in zip(names, results, strict=True):
        if fit_result.fitted:
            write_fitted(folder / name, fit_result.fitted, fit_result.job)
    if results:
        keys = {name: fit_result.job.key for name, fit_result in zip(names, results, strict=True)}
        content = {
            "fold": result.folds[-1].name,
            "trained_until": str(result.folds[-1].validation.until),
            "tickers": list(result.frames.tickers),
            "fits": keys,
        }
        _write(folder / "model.json", json.dumps(content, indent=1).encode())


def _name_of(job: FitJob) -> str:
    """Return the folder of a fit: its kind and seed, and its ticker where every ticker has its own network."""
    per_ticker = forecaster_of(job.forecaster).per_ticker(job.forecaster)
    ticker = (
        "_" + re.sub(r"[^A-Za-z0-9.-]", lambda letter: f"~{ord(letter[0]):x}", job.tickers[0]) if per_ticker else ""
    )
    return f"{job.forecaster.kind}_seed_{job.seed}{ticker}"


def write_backtest(path: Path, backtest: Backtest) -> None:
    """Write the backtest's forecasts as Parquet, one forecaster at a time to save memory.

    Quantiles are float32, as the forecasters return them, with BYTE_STREAM_SPLIT: a third of the size of float64.
    """
    _make_folder(path)
    parts = (_narrow(frame) for frame in forecast_frames(backtest))
    first = next(parts)
    dictionary = [name for name in first.column_names if name not in QUANTILE_COLUMNS]
    split = dict.fromkeys(QUANTILE_COLUMNS, "BYTE_STREAM_SPLIT")
    with pq.ParquetWriter(
        path, first.schema, compression="zstd", use_dictionary=dictionary, column_encoding=split
    ) as writer:
        for part in chain([first], parts):
            writer.write_table(part.cast(first.schema))


def _narrow(frame: pd.DataFrame) -> pa.Table:
    return pa.Table.from_pandas(frame.astype(dict.fromkeys(QUANTILE_COLUMNS, "float32")), preserve_index=False)


def artifact_tables(result: CalendarResult) -> Iterator[tuple[str, pd.DataFrame]]:
    """Yield (path, frame) of the tables for the UI, without empty ones."""
    for name, frame in _tables(result):
        if len(frame):
            yield f"{TABLES}/{name}.json", _with_dates_as_text(frame)


def _tables(result: CalendarResult) -> Iterator[tuple[str, pd.DataFrame]]:
    if result.forecasts is not None:
        published = result.forecasts["published"]
        yield "forecasts", result.forecasts[published].drop(columns="published")
        yield "unpublished_forecasts", result.forecasts[~published].drop(columns="published")
    if result.evaluation:
        yield from _evaluation_tables(result.evaluation)
    for name, records in (("excluded", result.excluded), ("stale", result.stale), ("problems", result.problems)):
        yield name, pd.DataFrame([asdict(record) for record in records])


def _evaluation_tables(evaluation: Evaluation) -> Iterator[tuple[str, pd.DataFrame]]:
    yield "summary", evaluation.summary_table
    yield "scores", evaluation.scores
    yield "comparisons", evaluation.comparisons
    yield "echoes", pd.DataFrame([asdict(echo) for echo in evaluation.echoes.values()])
    yield "weights", share_table(evaluation.backtest)
    yield "contributions", pd.DataFrame([_without_shares(it) for it in evaluation.contributions])
    yield "candidates", evaluation.candidates
    yield "medians", evaluation.medians
    yield "signs", evaluation.signs
    yield "ranking", evaluation.ranking
    yield "deciles", evaluation.deciles
    yield "pit", evaluation.pit
    yield "coverage", evaluation.coverage
    yield "coverage_tests", evaluation.coverage_tests
    yield "money", evaluation.money_table
    if evaluation.direction is not None:
        yield "direction", evaluation.direction


def _without_shares(it: Contribution) -> dict[str, object]:
    return {name: value for name, value in asdict(it).items() if name != "shares"}


def _with_dates_as_text(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the frame with dates as text: the UI would show them as instants."""
    dates = frame.select_dtypes("datetime").columns
    return frame.assign(**{name: frame[name].dt.strftime("%Y-%m-%d") for name in dates})


def _write(path: Path, content: bytes) -> None:
    _make_folder(path)
    path.write_bytes(content)


def _make_folder(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
