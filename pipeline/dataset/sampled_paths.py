"""Sampled paths: the features that are functions of the ticker's own returns, along sampled future returns.

Such features can be computed at every step of a sampled path of returns. Others (ranges, volume, the market) have no
model of their own and cannot be computed there.
"""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import pandas as pd

from pipeline.arrays import Floats, Indices
from pipeline.dataset.frames import Frames
from pipeline.dataset.targets import EWMA_DECAY, MIN_VOLATILITY, ROLLING_SESSIONS
from pipeline.dataset.ticker_features import MIN_MEAN_RETURN, clip_returns
from pipeline.errors import UsageError

LONGEST_WINDOW = 60  # own returns that the feature with the longest window reads


@dataclass(frozen=True)
class ReturnHistories:
    """Each ticker's own returns, and their exponentially weighted squares at every session."""

    returns: Floats  # [ticker, LONGEST_WINDOW + own return], without gaps, after LONGEST_WINDOW zeros
    count: Indices  # [ticker, session], own returns up to it
    squares: Floats  # [ticker, session], exponentially weighted sum of the squared returns
    weight: Floats  # [ticker, session], the sum of the weights


@dataclass(frozen=True)
class SampledPaths:
    """Origins with the returns before them, and the returns sampled since, on several paths per origin."""

    past_returns: Floats  # [origin, LONGEST_WINDOW], oldest first
    sampled_returns: Floats  # [origin, path, step]
    squares: Floats  # [origin, path], or [origin, 1] before the first step
    weight: Floats  # [origin, 1]


def return_histories(frames: Frames) -> ReturnHistories:
    """Return the history of returns of every ticker of the frames, from which paths start."""
    log_return = frames.log_return.astype(np.float64)
    known = np.isfinite(log_return)
    count = np.cumsum(known, axis=1)
    returns = np.zeros((len(log_return), LONGEST_WINDOW + log_return.shape[1]))
    for ticker, present in enumerate(known):
        returns[ticker, LONGEST_WINDOW : LONGEST_WINDOW + present.sum()] = log_return[ticker, present]
    squares = np.where(known, log_return, 0.0) ** 2
    sums = (_decaying_sum(values) for values in (squares, known.astype(np.float64)))
    return ReturnHistories(returns, count, *sums)


def _decaying_sum(values: Floats) -> Floats:
    """Return sum of EWMA_DECAY^age value over the sessions so far [ticker, session], for values without NaN."""
    total: Floats = pd.DataFrame(values.T).ewm(alpha=1 - EWMA_DECAY, adjust=True).sum().to_numpy().T
    return total


def start_paths(histories: ReturnHistories, ticker: Indices, session: Indices) -> SampledPaths:
    """Return paths without a step, from the origins at these rows and sessions [origin]."""
    columns = histories.count[ticker, session][:, None] + np.arange(LONGEST_WINDOW)  # [origin, LONGEST_WINDOW]
    return SampledPaths(
        past_returns=histories.returns[ticker[:, None], columns],
        sampled_returns=np.zeros((len(ticker), 1, 0)),
        squares=histories.squares[ticker, session][:, None],
        weight=histories.weight[ticker, session][:, None],
    )


def advance_paths(paths: SampledPaths, log_return: Floats) -> SampledPaths:
    """Return the paths one session later, given the returns of that session [origin, path]."""
    earlier = np.broadcast_to(paths.sampled_returns, (*log_return.shape, paths.sampled_returns.shape[2]))
    return replace(
        paths,
        sampled_returns=np.concatenate((earlier, log_return[..., None]), axis=2),
        squares=EWMA_DECAY * paths.squares + log_return**2,
        weight=EWMA_DECAY * paths.weight + 1.0,
    )


def path_volatility(paths: SampledPaths) -> Floats:
    """Return the volatility known at the last session [origin, path], as targets.origin_volatility computes it."""
    total = _window_sum(paths, lambda returns: returns, ROLLING_SESSIONS)
    squares = _window_sum(paths, np.square, ROLLING_SESSIONS)
    variance = (squares - total**2 / ROLLING_SESSIONS) / (ROLLING_SESSIONS - 1)
    rolling = np.maximum(variance, MIN_VOLATILITY**2)
    volatility: Floats = np.sqrt((rolling + np.maximum(paths.squares / paths.weight, MIN_VOLATILITY**2)) / 2)
    return volatility


def path_features(paths: SampledPaths, names: Sequence[str], volatility: Floats) -> Floats:
    """Return the named features at the last session [origin, path, feature].

    Raises UsageError where a feature is not a function of own returns alone.
    """
    refuse_unmodelled_features(names)
    return np.stack([RETURN_FEATURES[name](paths, volatility) for name in names], axis=-1)


def _window_sum(paths: SampledPaths, function: Callable[[Floats], Floats], window: int) -> Floats:
    """Return the sum of a function of the last `window` returns [origin, path]."""
    steps = paths.sampled_returns.shape[2]
    sampled = function(paths.sampled_returns[..., max(steps - window, 0) :]).sum(axis=2)
    past = function(paths.past_returns[:, LONGEST_WINDOW - max(window - steps, 0) :]).sum(axis=1)
    total: Floats = sampled + past[:, None]
    return total


def _log_return(paths: SampledPaths, volatility: Floats) -> Floats:
    last = paths.sampled_returns[..., -1] if paths.sampled_returns.shape[2] else paths.past_returns[:, -1:]
    return clip_returns(last) / volatility


def _log_volatility(_paths: SampledPaths, volatility: Floats) -> Floats:
    logarithm: Floats = np.log(volatility)
    return logarithm


def _mean_absolute_return(window: int) -> Callable[[SampledPaths, Floats], Floats]:
    def compute(paths: SampledPaths, _volatility: Floats) -> Floats:
        total = _window_sum(paths, lambda returns: np.abs(clip_returns(returns)), window)
        size: Floats = np.log(total / window + MIN_MEAN_RETURN)
        return size

    return compute


RETURN_FEATURES: dict[str, Callable[[SampledPaths, Floats], Floats]] = {
    "log_return": _log_return,
    "log_volatility": _log_volatility,
    "volatility_5": _mean_absolute_return(5),
    "volatility_20": _mean_absolute_return(20),
    "volatility_60": _mean_absolute_return(60),
}
"""The features that are functions of own returns alone, each computed from paths and the volatility at their end."""


def refuse_unmodelled_features(names: Sequence[str]) -> None:
    """Raise UsageError where a feature is not a function of own returns alone."""
    unmodelled = [name for name in names if name not in RETURN_FEATURES]
    if unmodelled:
        raise UsageError(
            f"found {', '.join(unmodelled)} with recursive horizons, expected only features that follow from own "
            f"returns: {', '.join(RETURN_FEATURES)}; leave the others out, or set horizon_mode to direct or "
            "decoder"
        )


# --- Random numbers: the same at the same origin, whatever else is forecast with it ---

Bits = npt.NDArray[np.uint64]
MIN_LEVEL = 1e-6  # a float32 level closer to one would be rounded to one


def origin_keys(frames: Frames, ticker: Indices, session: Indices) -> Bits:
    """Return a key per origin [origin] that depends on the ticker's name and the date alone."""
    digests = [hashlib.sha256(name.encode()).digest()[:8] for name in frames.tickers]
    ticker_keys = np.frombuffer(b"".join(digests), dtype="<u8").astype(np.uint64)
    days = frames.sessions[session].astype("datetime64[D]").astype(np.int64).astype(np.uint64)
    return _scrambled(ticker_keys[ticker] ^ _scrambled(days))


def path_levels(keys: Bits, step: int, paths: int) -> Floats:
    """Return levels in (0, 1) [origin, path], one in each of `paths` equal slices, in a random order per origin.

    A Latin hypercube over the steps (McKay, Beckman and Conover 1979): every step has an order of its own.
    """
    places = np.arange(2 * paths * step, 2 * paths * (step + 1), dtype=np.int64).astype(np.uint64)
    drawn = _scrambled(keys[:, None] ^ _scrambled(places))  # [origin, 2 x path]
    order = drawn[:, :paths].argsort(axis=1)
    within = (drawn[:, paths:] >> np.uint64(11)).astype(np.float64) * 2.0**-53
    levels: Floats = np.clip((order + within) / paths, MIN_LEVEL, 1 - MIN_LEVEL)
    return levels


def _scrambled(bits: Bits) -> Bits:
    """Return bits [...] scrambled by splitmix64 (Steele, Lea and Flood 2014)."""
    bits = bits + np.uint64(0x9E3779B97F4A7C15)
    bits = (bits ^ (bits >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    bits = (bits ^ (bits >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    scrambled: Bits = bits ^ (bits >> np.uint64(31))
    return scrambled


def path_quantiles(values: Floats, levels: Sequence[float]) -> Floats:
    """Return quantiles [origin, level] of values [origin, path]: the k-th smallest of n has level (k - 1/2) / n.

    Hazen's definition, number 5 of Hyndman and Fan (1996): that of a sample with one value in each of n equal slices.
    """
    quantiles: Floats = np.quantile(values, np.array(levels), axis=1, method="hazen").T
    return quantiles
