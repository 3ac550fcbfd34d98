"""Broken pipelines and simulated backtests, so that every check can be shown to fail."""

from dataclasses import replace

import numpy as np
from scipy.stats import norm

from pipeline.audit.steps import Steps
from pipeline.dataset.frames import Frames
from pipeline.forecasters.forecaster import LEVELS, Fitted
from pipeline.forecasting.backtest import Backtest
from pipeline.forecasting.forecasts import NETWORK
from pipeline.training.fits import fit
from pipeline.training.jobs import FitJob

UNIT = norm.ppf(LEVELS)
NOISE = 0.01


def learned_nothing(job: FitJob, frames: Frames, former: Fitted | None) -> Fitted:
    """A network with all weights zero: it forecasts the same at every origin."""
    fitted = fit(job, frames, former)
    if job.forecaster.kind != NETWORK:
        return fitted
    zeroed = {
        name: np.zeros_like(values) if name.startswith("network.") and "weight" in name else values
        for name, values in fitted.arrays.items()
    }
    return replace(fitted, arrays=zeroed)


NOTHING_LEARNED = Steps(fit=learned_nothing)


def spread(centre: np.ndarray, scale: np.ndarray | float = NOISE) -> np.ndarray:
    """Normal quantiles [ticker, origin, horizon, level] around a centre [ticker, origin]."""
    return (centre[..., None, None] + np.asarray(scale)[..., None, None] * UNIT).astype(np.float32)


def backtest_from(network: np.ndarray, outcome: np.ndarray) -> Backtest:
    """A backtest of these network quantiles, a constant climatology and the last close."""
    tickers, origins = outcome.shape
    climatology = spread(np.zeros_like(outcome), float(outcome.std()))
    days = np.datetime64("2020-01-01") + np.arange(origins + 1)
    return Backtest(
        tickers=tuple(f"T{k}" for k in range(tickers)),
        sessions=days[:-1],
        fold_names=("only",),
        fold_of_origin=np.zeros(origins, dtype=np.int64),
        quantiles={NETWORK: network, "climatology": climatology, "last_close": climatology},
        realised=outcome[..., None].astype(np.float32),
        reference_close=np.full((tickers, origins), 100.0),
        target_sessions=days[1:, None],
    )


def returns(seed: int, tickers: int = 4, origins: int = 400) -> np.ndarray:
    """Independent normal returns [ticker, origin]."""
    return np.random.default_rng(seed).normal(0, NOISE, (tickers, origins))
