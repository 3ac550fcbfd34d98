"""The cases of the sanity suite: simulated prices with and without a signal, and small experiments on them."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np
import pandas as pd

from pipeline.arrays import Indices
from pipeline.dataset.folds import FoldSpec
from pipeline.experiment import Experiment
from pipeline.forecasters.recurrent.specification import RecurrentSpec
from pipeline.forecasters.training_specification import TrainingSpec
from pipeline.market.in_memory import InMemoryPrices, open_sample
from pipeline.market.specification import Process, SyntheticSource
from pipeline.market.synthetic import open_synthetic

LONG_SAMPLE_TICKERS = ("AAPL", "GOOG", "IBM", "MSFT")
START_PRICE = 100.0
SHAPE_COLUMNS = ("open", "high", "low")

NOW = datetime(2025, 1, 1, tzinfo=UTC)
"""An instant after the last session of all prices that are made here."""

SIGNAL_EXPERIMENT = Experiment(
    horizons=1,
    network=RecurrentSpec(hidden_size=16),
    training=TrainingSpec(
        min_steps=150,
        max_steps=150,
        validation_checks=6,
        patience_checks=6,
        batch_chunks=16,
        chunk_sessions=100,
        learning_rate=1e-2,
    ),
    folds=FoldSpec(train_end="2021-12-31", valid_end="2022-12-30"),
    benchmarks=(),
    seeds=1,
    device="cpu",
    workers=1,
)
"""A small experiment that learns a planted signal quickly."""

NOISE_EXPERIMENT = SIGNAL_EXPERIMENT.model_copy(
    update={
        "network": RecurrentSpec(hidden_size=8),
        "training": SIGNAL_EXPERIMENT.training.model_copy(
            update={"min_steps": 60, "max_steps": 60, "batch_chunks": 8, "chunk_sessions": 80}
        ),
    }
)
"""A smaller experiment for many fits on data without signal."""


@dataclass(frozen=True)
class SanityCase:
    """Prices and the experiment that is run on them; `source` is the process that made them, where it is known."""

    prices: InMemoryPrices
    experiment: Experiment
    source: SyntheticSource | None = None


def signal_case(process: Process, seed: int, strength: float | None = None) -> SanityCase:
    """Return prices with a signal: eight tickers, 2,000 sessions."""
    source = SyntheticSource(process=process, sessions=2000, tickers=8, seed=seed, strength=strength)
    return SanityCase(open_synthetic(source), SIGNAL_EXPERIMENT, source)


def random_walk_case(seed: int) -> SanityCase:
    """Return prices without any signal: four tickers, 1,500 sessions."""
    source = SyntheticSource(process="random_walk", sessions=1500, tickers=4, seed=seed)
    return SanityCase(open_synthetic(source), NOISE_EXPERIMENT.model_copy(update={"seed": seed}), source)


def shuffled_case(seed: int) -> SanityCase:
    """Return the bundled sample's days in random order, as data without signal."""
    folds = FoldSpec(train_end="2010-06-30", valid_end="2011-02-28")
    experiment = NOISE_EXPERIMENT.model_copy(update={"folds": folds, "seed": seed})
    return SanityCase(shuffled_returns(open_sample(), LONG_SAMPLE_TICKERS, seed), experiment)


def shuffled_returns(prices: InMemoryPrices, tickers: Sequence[str], seed: int) -> InMemoryPrices:
    """Return prices whose days are those of these tickers in random order, the same order for every ticker.

    Of the sessions that they have in common, each day keeps its shape (open, high and low relative to the close),
    its volume and its total return less the ticker's mean, so no ticker has a drift that could be learned. Returns of
    one day stay together, so the tickers' correlations are kept. The rows need an adj_close.
    """
    rows = {ticker: prices.rows(ticker).set_index("session") for ticker in tickers}
    sessions = sorted(set.intersection(*(set(frame.index) for frame in rows.values())))
    order = np.random.default_rng(seed).permutation(len(sessions) - 1)
    frames = {ticker: _reordered(frame.loc[sessions], order) for ticker, frame in rows.items()}
    note = f"Returns of the given prices in random order (seed {seed}): not a market."
    return InMemoryPrices(frames, "as_traded", has_actions=False, returns_from="close", note=note)


def _reordered(rows: pd.DataFrame, order: Indices) -> pd.DataFrame:
    """Return the rows from the second on, their days in another order."""
    returns = np.diff(np.log(rows["adj_close"].to_numpy(dtype=np.float64)))
    close = START_PRICE * np.exp(np.cumsum((returns - returns.mean())[order]))
    days = rows.iloc[1:].iloc[order]
    shapes = {name: close * (days[name] / days["close"]).to_numpy(dtype=np.float64) for name in SHAPE_COLUMNS}
    volume = days["volume"].to_numpy(dtype=np.float64)
    return pd.DataFrame({"session": rows.index[1:], **shapes, "close": close, "volume": volume})
