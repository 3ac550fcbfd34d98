"""A finished result, written to its run and to a child run per fold."""

import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from pipeline.dataset.folds import Fold
from pipeline.dataset.frames import Frames
from pipeline.forecasters.forecaster import Fitted
from pipeline.operation.result import CalendarResult
from pipeline.tracking.descriptions import (
    NOTE_TAG,
    RunKind,
    final_name,
    final_note,
    final_tags,
    fold_name,
    fold_tags,
    tickers_in_brief,
)
from pipeline.tracking.files import TABLES, artifact_tables, write_files
from pipeline.tracking.metrics import MetricValue, evaluation_values, fit_values, flat_params, fold_values
from pipeline.tracking.runs import Record, child_run
from pipeline.training.jobs import FitResult, digest_of_rows


def log_result(
    record: Record,
    kind: RunKind,
    result: CalendarResult,
    figures: Mapping[str, bytes],
    report: Path | None,
    seconds: Mapping[str, float],
) -> None:
    """Write a result, figures (file name: content) and report to a started run, which the caller ends.

    `seconds` are the durations of the stages so far.
    """
    _log_parent(record, result, seconds)
    log_folds(record, result)
    names = log_files(record, result, figures, report)
    record.write(tags={NOTE_TAG: final_note(kind, result, names)})
    record.rename(final_name(kind, result))


def _log_parent(record: Record, result: CalendarResult, seconds: Mapping[str, float]) -> None:
    values = evaluation_values(result.evaluation) if result.evaluation else []
    values += [MetricValue(f"seconds/{stage}", value) for stage, value in seconds.items()]
    fitted = flat_params(result.experiment.model_dump(mode="json", include={"benchmarks"}))
    record.write(values, fitted, final_tags(result))
    record.dataset(dataset_values(result))


def dataset_values(result: CalendarResult) -> dict[str, str]:
    """Return the rows that were read as the values of an MLflow dataset, whose digest changes with any of them."""
    frames = result.frames
    return {
        "name": f"{result.experiment.source.kind}: {tickers_in_brief(frames.tickers)}",
        "digest": digest_of_rows(frames),
        "source_type": f"tapecast {result.experiment.source.kind}",
        "source": result.experiment.source.model_dump_json(),
        "schema": json.dumps({"mlflow_colspec": _columns(frames)}),
        "profile": json.dumps(_profile(frames)),
    }


def _columns(frames: Frames) -> list[dict[str, object]]:
    types = {"ticker": "string", "session": "datetime", "reference_close": "double", "log_return": "float"}
    types |= dict.fromkeys(frames.feature_names, "float")
    return [{"name": name, "type": kind, "required": True} for name, kind in types.items()]


def _profile(frames: Frames) -> dict[str, object]:
    return {
        "num_rows": int(np.isfinite(frames.reference_close).sum()),
        "num_usable_origins": int(frames.usable.sum()),
        "num_tickers": len(frames.tickers),
        "first_session": str(frames.sessions[0]),
        "last_session": str(frames.sessions[-1]),
    }


def log_folds(parent: Record, result: CalendarResult) -> None:
    """Write a child run per fold: ranges, seeds, loss curves and the scores of its own test range."""
    scores = _fold_scores(result)
    for fold in result.folds:
        results = [fit_result for fit_result in result.results if fit_result.job.fold.name == fold.name]
        values = [value for seed, fits in by_kind_and_seed(results) for value in fit_values(fits, seed)]
        with child_run(parent, fold_name(fold), fold_tags(fold)) as record:
            record.write(values + scores.get(fold.name, []), fold_params(fold, results))


def by_kind_and_seed(results: Sequence[FitResult]) -> list[tuple[int, list[Fitted]]]:
    """Return (seed, fits) of each kind and seed: one fit, or one per ticker."""
    groups: dict[tuple[str, int], list[Fitted]] = {}
    for result in results:
        if result.fitted:
            groups.setdefault((result.job.forecaster.kind, result.job.seed), []).append(result.fitted)
    return [(seed, fits) for (_, seed), fits in groups.items()]


def _fold_scores(result: CalendarResult) -> dict[str, list[MetricValue]]:
    if result.evaluation is None:
        return {}
    backtest = result.evaluation.backtest
    scored = backtest.scored
    return {name: list(fold_values(backtest, scored, at)) for at, name in enumerate(backtest.fold_names)}


def fold_params(fold: Fold, results: list[FitResult]) -> dict[str, str]:
    """Return a fold's params: sessions per range, seeds and tickers of its fits."""
    seeds: dict[str, set[int]] = {}
    for result in results:
        seeds.setdefault(result.job.forecaster.kind, set()).add(result.job.seed)
    trained_on = tuple(dict.fromkeys(ticker for result in results for ticker in result.job.tickers))
    sessions = {f"sessions.{name}": len(getattr(fold, name)) for name in ("train", "validation", "calibration", "test")}
    return {
        **{name: str(count) for name, count in sessions.items()},
        **{f"seeds.{kind}": " ".join(map(str, sorted(of_kind))) for kind, of_kind in sorted(seeds.items())},
        **({"trained_on": tickers_in_brief(trained_on)} if results else {}),
    }


def log_files(record: Record, result: CalendarResult, figures: Mapping[str, bytes], report: Path | None) -> list[str]:
    """Write every artifact of a run and return the names at the top level, each once."""
    with record.files() as folder:
        write_files(folder, result, figures)
        if report:
            (folder / "report").mkdir()
            shutil.copy(report, folder / "report")
    names = [path.name for path in folder.iterdir()] if folder.is_dir() else []
    record.tables(artifact_tables(result))
    first = ["report"] if "report" in names else []
    return [*first, TABLES, *sorted({*names} - {"report"})]
