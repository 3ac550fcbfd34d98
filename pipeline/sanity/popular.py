"""The popular "accuracy" of a network fitted on one year of the bundled sample, compared with naive lines."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import date

import numpy as np
import pandas as pd

from pipeline.arrays import Floats
from pipeline.dataset.folds import FoldSpec
from pipeline.dataset.frames import Frames
from pipeline.dataset.panel import build_panel
from pipeline.evaluation.popular_accuracy import (
    FITTED_SESSIONS,
    FORECAST_SESSIONS,
    PopularAccuracy,
    popular_accuracies,
    popular_accuracy,
)
from pipeline.experiment import Experiment
from pipeline.forecasters.forecaster import MEDIAN
from pipeline.forecasting.forecasts import NETWORK
from pipeline.market.bars import Bars
from pipeline.market.in_memory import open_sample
from pipeline.market.validation.validate import load_bars
from pipeline.sanity.cases import NOW
from pipeline.stages import folds_of, frames_of, jobs_of
from pipeline.training.fits import fit_each, quantiles

VALIDATED_SESSIONS = 52
"""Validation sessions of the fitted year: at 30 sessions ahead 22 of them have an outcome within it."""


def popular_on_sample(ticker: str = "GOOG", seeds: int = 3) -> PopularAccuracy:
    """Return the last 30 sessions of a sample ticker: last value, straight line, and a network's medians.

    All three read the 252 sessions before and nothing else; the network forecasts quantiles and is trained on 200 of
    them.
    Raises UsageError where the sample does not hold the ticker, FitError where a fit fails.
    """
    bars = _sample_of(ticker)
    panel = build_panel(bars)
    network = median_line(bars, seeds)
    return popular_accuracies(ticker, panel.sessions, panel.close[0], network)


def popular_by_start(tickers: Sequence[str], starts: int) -> pd.DataFrame:
    """Return the popular accuracy, in per cent, on the last 30 sessions of sample tickers, a row per ticker.

    Columns: the two naive lines, then the network of each start (seed): a published picture of one network shows one of
    these. Raises as popular_on_sample does.
    """
    return pd.DataFrame([_by_start(ticker, starts) for ticker in tickers], index=pd.Index(tickers, name="ticker"))


def _by_start(ticker: str, starts: int) -> dict[str, float]:
    bars = _sample_of(ticker)
    panel = build_panel(bars)
    naive = popular_accuracies(ticker, panel.sessions, panel.close[0], None).lines
    simple = {line.name: line.accuracy for line in naive}
    closes = panel.close[0, -FORECAST_SESSIONS:]
    lines = median_lines(bars, starts)
    return simple | {f"network, start {k}": popular_accuracy(line, closes) for k, line in enumerate(lines, 1)}


def _sample_of(ticker: str) -> Bars:
    return last_sessions(load_bars(open_sample(), (ticker,), NOW, 1).bars, FITTED_SESSIONS + FORECAST_SESSIONS)


def last_sessions(bars: Bars, count: int) -> Bars:
    """Return the last `count` bars of every ticker."""
    return replace(bars, frame=bars.frame.groupby("ticker", sort=False).tail(count).reset_index(drop=True))


def median_line(bars: Bars, seeds: int) -> Floats:
    """Return the median prices of the next 30 sessions, all from the last close of the fitted year [session]."""
    last, medians = _medians(bars, seeds)
    line: Floats = last * np.exp(np.mean(medians, axis=0))
    return line


def median_lines(bars: Bars, seeds: int) -> Floats:
    """Return the line of each seed's network [seed, session]."""
    last, medians = _medians(bars, seeds)
    lines: Floats = last * np.exp(medians)
    return lines


def _medians(bars: Bars, seeds: int) -> tuple[float, Floats]:
    """Return the fitted year's last close, and each network's medians of the log return from it [seed, session]."""
    sessions = build_panel(bars).sessions
    ends = [date.fromisoformat(str(sessions[FITTED_SESSIONS - 1 - back])) for back in (VALIDATED_SESSIONS, 0)]
    folds = FoldSpec(train_end=ends[0], valid_end=ends[1])
    experiment = Experiment(horizons=FORECAST_SESSIONS, folds=folds, seeds=seeds, device="cpu")
    frames = frames_of(bars, experiment)
    origin = FITTED_SESSIONS - 1
    medians = np.stack([forecast[0, 0, :, MEDIAN] for forecast in _quantiles_at(frames, experiment, origin)])
    return float(frames.reference_close[0, origin]), medians


def _quantiles_at(frames: Frames, experiment: Experiment, origin: int) -> list[Floats]:
    """Return each seed's quantiles at one origin [ticker, 1, horizon, level]."""
    results = fit_each(jobs_of(frames, folds_of(frames, experiment), experiment, "cpu", (NETWORK,)), frames)
    fits = [result.fitted for result in results if result.fitted]
    return [quantiles(fitted, frames, slice(origin, origin + 1)).astype(np.float64) for fitted in fits]
