"""Builders of small bars, frames, folds and jobs for the tests: made prices, seeded, in milliseconds."""

from collections.abc import Collection, Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pandas as pd

from pipeline.dataset.folds import Fold, FoldSpec
from pipeline.dataset.frames import Frames, save_frames
from pipeline.dataset.panel import Panel, build_panel
from pipeline.experiment import Experiment
from pipeline.forecasters.recurrent.specification import QuantileHeadSpec, RecurrentSpec
from pipeline.forecasters.training_specification import TrainingSpec
from pipeline.market.bars import Bars, ReturnsFrom
from pipeline.market.calendars import sessions_between
from pipeline.market.sources import open_source
from pipeline.market.specification import SyntheticSource
from pipeline.market.validation.validate import ValidationTerms, load_bars, validate
from pipeline.stages import folds_of, frames_of, jobs_of
from pipeline.training.cache import FitCache
from pipeline.training.jobs import FitJob, FitResult
from pipeline.training.schedule import fit_all

LAST_DAY = np.datetime64("2023-12-29")
NOW = datetime(2024, 1, 1, tzinfo=UTC)
"""After the close of LAST_DAY and before the next session."""

TINY_NETWORK = RecurrentSpec(cell="lstm", hidden_size=6, dropout=0.1, head=QuantileHeadSpec())
TINY_TRAINING = TrainingSpec(
    min_steps=8,
    max_steps=8,
    validation_checks=4,
    patience_checks=4,
    batch_chunks=4,
    chunk_sessions=60,
    burn_in_sessions=10,
)
TINY = Experiment(
    source=SyntheticSource(process="random_walk"),
    horizons=2,
    network=TINY_NETWORK,
    training=TINY_TRAINING,
    folds=FoldSpec(refit_months=9, validation_months=3),
    benchmarks=(),
    seeds=1,
    device="cpu",
    workers=1,
)

Rows = Mapping[str, pd.DataFrame]


def sessions_to(last: np.datetime64, count: int) -> np.ndarray:
    """The last `count` XNYS sessions up to a day."""
    return sessions_between("XNYS", np.datetime64("1990-01-01"), last)[-count:]


def random_rows(count: int, seed: int, last: np.datetime64 = LAST_DAY, level: float = 50.0) -> pd.DataFrame:
    """Sound rows of one ticker as traded, with dividends and splits, and adj_close that says the same."""
    draws = np.random.default_rng(seed)
    returns = draws.standard_t(5, count) * 0.012 * np.exp(0.4 * np.sin(np.arange(count) / 37.0 + seed))
    split = np.where(draws.uniform(size=count) < 4 / max(count, 4), 2.0, 1.0)
    dividend = np.where(draws.uniform(size=count) < 8 / max(count, 8), level / 200, 0.0)
    split[0], dividend[0] = 1.0, 0.0
    close = np.empty(count)
    close[0] = level
    for t in range(1, count):  # total return: (close x split + dividend) / former close
        close[t] = max((close[t - 1] * np.exp(returns[t]) - dividend[t]) / split[t], 0.5)
    total = np.concatenate([[0.0], np.log((close[1:] * split[1:] + dividend[1:]) / close[:-1])])
    open_ = close * np.exp(draws.normal(0, 0.005, count))
    return pd.DataFrame(
        {
            "session": sessions_to(last, count).astype("datetime64[s]"),
            "open": open_,
            "high": np.maximum(open_, close) * np.exp(np.abs(draws.normal(0, 0.006, count))),
            "low": np.minimum(open_, close) / np.exp(np.abs(draws.normal(0, 0.006, count))),
            "close": close,
            "volume": np.round(1e6 * np.cumprod(split) * np.exp(draws.normal(0, 0.3, count))),
            "adj_close": level * np.exp(np.cumsum(total)),
            "dividend": dividend,
            "split": split,
        }
    )


def random_market(count: int = 700, tickers: int = 4, seed: int = 0) -> dict[str, pd.DataFrame]:
    """Rows by ticker: the last ticker was listed late, and the second one has two gaps."""
    lengths = [count] * (tickers - 1) + [count * 5 // 8]
    rows = {f"T{k}": random_rows(length, seed * 1000 + k) for k, length in enumerate(lengths)}
    gap = np.r_[count // 2 : count // 2 + 3, count * 4 // 5 : count * 4 // 5 + 1]
    unsplit = [row for row in gap if rows["T1"]["split"][row] == 1.0]  # a split in a gap would not be reported
    return {**rows, "T1": rows["T1"].drop(index=unsplit).reset_index(drop=True)}


def bars_of(
    rows: Rows, returns_from: ReturnsFrom = "actions", minimum_sessions: int = 1, has_actions: bool = False
) -> Bars:
    """Validated bars, every ticker accepted. Rules on actions do not apply: rows are dropped with their actions."""
    terms = ValidationTerms(returns_from, has_actions, NOW, minimum_sessions)
    validated = validate(dict(rows), terms)
    assert validated.excluded == (), validated.excluded
    return validated.bars


def panel_of(rows: Rows, returns_from: ReturnsFrom = "actions") -> Panel:
    """The panel of validated rows."""
    return build_panel(bars_of(rows, returns_from))


def frames_from(rows: Rows, experiment: Experiment = TINY, returns_from: ReturnsFrom = "actions") -> Frames:
    """The frames of validated rows."""
    return frames_of(bars_of(rows, returns_from), experiment)


def synthetic_frames(source: SyntheticSource, experiment: Experiment) -> Frames:
    """The frames of a synthetic source."""
    validated = load_bars(open_source(source), (), datetime(2025, 1, 1, tzinfo=UTC), experiment.minimum_sessions)
    assert validated.excluded == (), validated.excluded
    return frames_of(validated.bars, experiment)


def changed(experiment: Experiment, **values: object) -> Experiment:
    """The experiment with other values, validated."""
    return Experiment.model_validate(
        {**{name: getattr(experiment, name) for name in type(experiment).model_fields}, **values}
    )


def jobs_for(
    frames: Frames, experiment: Experiment = TINY, kinds: Collection[str] = ("network",), folds: slice = slice(None)
) -> tuple[list[FitJob], tuple[Fold, ...]]:
    """The jobs of the named kinds on some of the folds, and these folds."""
    chosen = folds_of(frames, experiment)[folds]
    return list(jobs_of(frames, chosen, experiment, "cpu", kinds)), chosen


def fit_jobs(jobs: Iterable[FitJob], frames: Frames, folder: Path, workers: int = 1) -> list[FitResult]:
    """Fit the jobs with a store of their own under a folder; none may fail."""
    save_frames(frames, folder / "frames")
    results = list(fit_all(list(jobs), folder / "frames", FitCache(folder / "kept"), workers))
    failures = [result.error for result in results if result.fitted is None]
    assert failures == []
    return results
