"""World (draft)."""
from dataclasses import dataclass
from math import sqrt
import numpy as np
from pipeline.arrays import Floats
from pipeline.dataset.frames import Frames, build_frames
from pipeline.dataset.panel import Panel
from pipeline.experiment import DEFAULT_FEATURES
from pipeline.dataset.features import select_features
from tests.benchmarks.sequential import garch

DAILY = 0.012

def garch_frames(seed, tickers, sessions, change=None, factor=1.0):
    draws = np.random.default_rng((seed, 16))
    returns, volatility = garch(draws, tickers, sessions + 100)
    scale = DAILY * np.where(np.arange(sessions + 100) < (change + 100 if change is not None else 10**9), 1.0, factor)
    return_, deviation = returns * scale, volatility * scale
    close = 100 * np.exp(return_.cumsum(axis=1))
    before = close * np.exp(-return_)
    open_ = before * np.exp(0.3 * return_)
    above, below = np.exp(0.4 * deviation * np.abs(draws.standard_normal((2, *close.shape))))
    volume = 1e6 * np.exp(0.3 * draws.standard_normal(close.shape))
    high, low = np.maximum(open_, close) * above, np.minimum(open_, close) / below
    names = tuple(f"T{k:03d}" for k in range(tickers))
    days = np.arange(close.shape[1]) + np.datetime64("2010-01-01")
    panel = Panel("XNYS", names, days, open_, high, low, close, volume, return_)
    return build_frames(panel, select_features(DEFAULT_FEATURES), names, 1, 60)
