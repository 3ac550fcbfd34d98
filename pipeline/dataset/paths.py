"""Paths: what the features that follow from own returns alone become, when the next returns are sampled.

Such features are functions of the own returns up to a session, so that a path of returns carries them along; others
(ranges, volume, the market) have no model of their own and cannot be carried.
"""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from scipy.signal import lfilter

from pipeline.arrays import Floats, Indices
from pipeline.dataset.features import SMALLEST_MEAN_RETURN
from pipeline.dataset.frames import Frames
from pipeline.dataset.market import clipped
from pipeline.dataset.volatility import EWMA_DECAY, ROLLING_SESSIONS, SMALLEST_VOLATILITY
from pipeline.errors import UsageError

WINDOW = 60  # own returns that the longest of these features reads


@dataclass(frozen=True)
class Histories:
    """Each ticker's own returns, and what is known of them at every session."""

    returns: Floats  # [ticker, WINDOW + own return], without gaps, after WINDOW zeros
    count: Indices  # [ticker, session], own returns up to it
    squares: Floats  # [ticker, session], exponentially weighted sum of the squared returns
    weight: Floats  # [ticker, session], the sum of the weights


@dataclass(frozen=True)
class Paths:
    """Some origins with the returns before them, and those sampled since on several paths of each."""

    before: Floats  # [origin, WINDOW], oldest first
    since: Floats  # [origin, path, step]
    squares: Floats  # [origin, path], or [origin, 1] before the first step
    weight: Floats  # [origin, 1]


def histories(frames: Frames) -> Histories:
    """Return what paths begin from, of all that the frames hold."""
    log_return = frames.log_return.astype(np.float64)
    known = np.isfinite(log_return)
    count = np.cumsum(known, axis=1)
    returns = np.zeros((len(log_return), WINDOW + log_return.shape[1]))
    for ticker, own in enumerate(known):
        returns[ticker, WINDOW : WINDOW + own.sum()] = log_return[ticker, own]
    squares = np.where(known, log_return, 0.0) ** 2
    sums = (lfilter([1.0], [1.0, -EWMA_DECAY], values, axis=1) for values in (squares, known.astype(np.float64)))
    return Histories(returns, count, *sums)


def begun(past: Histories, ticker: Indices, session: Indices) -> Paths:
    """Return paths without a step yet, from the origins at these rows and sessions [origin]."""
    place = past.count[ticker, session][:, None] + np.arange(WINDOW)  # [origin, WINDOW], behind the zeros
    return Paths(
        before=past.returns[ticker[:, None], place],
        since=np.zeros((len(ticker), 1, 0)),
        squares=past.squares[ticker, session][:, None],
        weight=past.weight[ticker, session][:, None],
    )


def advanced(paths: Paths, log_return: Floats) -> Paths:
    """Return the paths one session later, with these returns [origin, path]."""
    since = np.broadcast_to(paths.since, (*log_return.shape, paths.since.shape[2]))
    return replace(
        paths,
        since=np.concatenate((since, log_return[..., None]), axis=2),
        squares=EWMA_DECAY * paths.squares + log_return**2,
        weight=EWMA_DECAY * paths.weight + 1.0,
    )


def path_volatility(paths: Paths) -> Floats:
    """Return the volatility known at the last session [origin, path]: that of volatility.origin_volatility."""
    total = _window_sum(paths, lambda own: own, ROLLING_SESSIONS)
    squares = _window_sum(paths, np.square, ROLLING_SESSIONS)
    variance = (squares - total**2 / ROLLING_SESSIONS) / (ROLLING_SESSIONS - 1)
    rolling = np.maximum(variance, SMALLEST_VOLATILITY**2)
    volatility: Floats = np.sqrt((rolling + np.maximum(paths.squares / paths.weight, SMALLEST_VOLATILITY**2)) / 2)
    return volatility


def path_features(paths: Paths, names: Sequence[str], volatility: Floats) -> Floats:
    """Return the named features at the last session [origin, path, feature]; raises UsageError as refuse_unmodelled."""
    refuse_unmodelled(names)
    return np.stack([RETURN_FEATURES[name](paths, volatility) for name in names], axis=-1)


def _window_sum(paths: Paths, of: Callable[[Floats], Floats], window: int) -> Floats:
    """Return the sum of a function of the last `window` returns [origin, path]."""
    steps = paths.since.shape[2]
    since = of(paths.since[..., max(steps - window, 0) :]).sum(axis=2)
    before = of(paths.before[:, WINDOW - max(window - steps, 0) :]).sum(axis=1)
    total: Floats = since + before[:, None]
    return total


def _log_return(paths: Paths, volatility: Floats) -> Floats:
    last = paths.since[..., -1] if paths.since.shape[2] else paths.before[:, -1:]
    return clipped(last) / volatility


def _log_volatility(_paths: Paths, volatility: Floats) -> Floats:
    logarithm: Floats = np.log(volatility)
    return logarithm


def _mean_absolute_return(window: int) -> Callable[[Paths, Floats], Floats]:
    def compute(paths: Paths, _volatility: Floats) -> Floats:
        total = _window_sum(paths, lambda own: np.abs(clipped(own)), window)
        size: Floats = np.log(total / window + SMALLEST_MEAN_RETURN)
        return size

    return compute


RETURN_FEATURES: dict[str, Callable[[Paths, Floats], Floats]] = {
    "log_return": _log_return,
    "log_volatility": _log_volatility,
    "volatility_5": _mean_absolute_return(5),
    "volatility_20": _mean_absolute_return(20),
    "volatility_60": _mean_absolute_return(60),
}
"""The features that follow from own returns alone, as functions of paths and the volatility at their last session."""


def refuse_unmodelled(names: Sequence[str]) -> None:
    """Raise UsageError where a feature does not follow from own returns alone."""
    others = [name for name in names if name not in RETURN_FEATURES]
    if others:
        raise UsageError(
            f"found {', '.join(others)} with recursive horizons, expected only features that follow from own returns: "
            f"{', '.join(RETURN_FEATURES)}; leave the others out, or set ahead to direct or decoder"
        )


# --- Draws: the same at the same origin, whatever else is forecast with it ---

Bits = npt.NDArray[np.uint64]
SMALLEST_LEVEL = 1e-6  # a float32 closer to one would be one


def origin_keys(frames: Frames, ticker: Indices, session: Indices) -> Bits:
    """Return a number of each origin [origin] that follows from the ticker's name and the date alone."""
    names = [hashlib.sha256(frames.tickers[row].encode()).digest()[:8] for row in range(len(frames.tickers))]
    own = np.frombuffer(b"".join(names), dtype="<u8").astype(np.uint64)
    days = frames.sessions[session].astype("datetime64[D]").astype(np.int64).astype(np.uint64)
    return _mixed(own[ticker] ^ _mixed(days))


def path_levels(keys: Bits, step: int, paths: int) -> Floats:
    """Return levels in (0, 1) [origin, path], one in each of `paths` equal slices, in an order drawn per origin.

    McKay, Beckman and Conover (1979), a Latin hypercube over the steps: every step has its own order.
    """
    places = np.arange(2 * paths * step, 2 * paths * (step + 1), dtype=np.int64).astype(np.uint64)
    drawn = _mixed(keys[:, None] ^ _mixed(places))  # [origin, 2 x path]
    order = drawn[:, :paths].argsort(axis=1)
    within = (drawn[:, paths:] >> np.uint64(11)).astype(np.float64) * 2.0**-53
    levels: Floats = np.clip((order + within) / paths, SMALLEST_LEVEL, 1 - SMALLEST_LEVEL)
    return levels


def _mixed(bits: Bits) -> Bits:
    """Return bits [...] scrambled by splitmix64 (Steele, Lea and Flood 2014)."""
    bits = bits + np.uint64(0x9E3779B97F4A7C15)
    bits = (bits ^ (bits >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    bits = (bits ^ (bits >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    scrambled: Bits = bits ^ (bits >> np.uint64(31))
    return scrambled


def path_quantiles(values: Floats, levels: Sequence[float]) -> Floats:
    """Return quantiles [origin, level] of values [origin, path]: the k-th smallest of n stands at (k - 1/2) / n."""
    ascending = np.sort(values, axis=1)
    paths = values.shape[1]
    place = np.clip(np.array(levels) * paths - 0.5, 0, paths - 1)  # [level]
    below = np.minimum(place.astype(np.int64), paths - 2)
    quantiles: Floats = ascending[:, below] + (place - below) * (ascending[:, below + 1] - ascending[:, below])
    return quantiles
