"""Error bars by block bootstrap over sessions: one draw of sessions serves every ticker, horizon and forecaster."""

from dataclasses import dataclass
from functools import lru_cache
from math import ceil

import numpy as np

from pipeline.arrays import Floats, Indices
from pipeline.errors import UsageError

REPLICATIONS = 1000
_LOWER, _UPPER = 0.025, 0.975


@dataclass(frozen=True)
class ErrorBar:
    """An estimate per series [...], its standard error and its 95 % interval; NaN where a series has no value."""

    estimate: Floats
    standard_error: Floats
    low: Floats
    high: Floats


def block_length(sessions: int, horizon: int) -> int:
    """Return max(2h, n^(1/3) rounded up), but at most n: the rate of Hall, Horowitz and Jing (1995) for a variance.

    At least 2h, since the losses of h neighbouring origins share sessions.
    """
    return min(max(2 * horizon, ceil(round(float(np.cbrt(sessions)), 9))), sessions)


@lru_cache(maxsize=16)
def resampled_counts(sessions: int, block: int, seed: int, replications: int = REPLICATIONS) -> Floats:
    """Return how often each session is drawn [replication, session], read-only; a row sums to the sessions.

    Those of `resampled_sessions` over as many places as there are sessions. Equal arguments give equal draws.
    Raises UsageError where there is no session or the block is not within them.
    """
    drawn = resampled_sessions(sessions, block, seed, (replications, sessions))
    flat = drawn + sessions * np.arange(replications)[:, None]
    counts: Floats = np.bincount(flat.ravel(), minlength=replications * sessions).astype(np.float64)
    counts = counts.reshape(replications, sessions)
    counts.setflags(write=False)
    return counts


def resampled_sessions(sessions: int, block: int, seed: int, shape: tuple[int, int]) -> Indices:
    """Return which session is drawn at each place [replication, place], of `shape`.

    The stationary bootstrap of Politis and Romano (1994): blocks of geometric length with mean `block` that begin
    anywhere and go on at the first session after the last. Equal arguments give equal draws.
    Raises UsageError where there is no session or the block is not within them.
    """
    if not 1 <= block <= sessions:
        raise UsageError(f"a block of {block} sessions cannot be drawn from {sessions}: give one from 1 to all of them")
    draws = np.random.default_rng(seed)
    begins = draws.uniform(size=shape) < 1 / block
    begins[:, 0] = True
    place = np.arange(shape[1])
    begun = np.maximum.accumulate(np.where(begins, place, 0), axis=1)  # where the block of each place began
    first = draws.integers(sessions, size=shape)
    drawn: Indices = (np.take_along_axis(first, begun, axis=1) + place - begun) % sessions
    return drawn


def error_bar(losses: Floats, counts: Floats) -> ErrorBar:
    """Return the error bar of the mean loss of each series [..., session], NaN where missing, from drawn sessions.

    The standard deviation over replications, and their 2.5 % and 97.5 % percentiles (Efron and Tibshirani 1993,
    eq. 6.6 and 13.5). A replication that draws no session of a series is excluded from it.
    Raises UsageError where the sessions are not as many as those drawn.
    """
    known = np.isfinite(losses)
    values, number = np.where(known, losses, 0.0), known.sum(axis=-1)
    drawn = np.array(float(counts.shape[1])) if known.all() else _sums(known.astype(np.float64), counts)
    return _bar(_ratio(values.sum(axis=-1), number), _ratio(_sums(values, counts), drawn))


def skill_error_bar(losses: Floats, against: Floats, counts: Floats) -> ErrorBar:
    """Return the error bar of the skill 1 - mean loss / mean loss of another, each series [..., session].

    Both means are over the sessions that both have; numerator and denominator are resampled together, so that
    what moves both does not change the skill. NaN where the other's mean loss is zero.
    Raises UsageError where the sessions are not as many as those drawn.
    """
    known = np.isfinite(losses) & np.isfinite(against)
    above, below = np.where(known, losses, 0.0), np.where(known, against, 0.0)
    estimate = 1 - _ratio(above.sum(axis=-1), below.sum(axis=-1))
    return _bar(estimate, 1 - _ratio(_sums(above, counts), _sums(below, counts)))


def skill_error(losses: Floats, against: Floats, horizon: int) -> Floats:
    """Return the standard error of the skill of losses per session [session] over others [..., session].

    NaN with fewer than two sessions. Many others at once are much quicker than one by one.
    """
    sessions = len(losses)
    if sessions < 2:
        return np.full(against.shape[:-1], np.nan)
    counts = resampled_counts(sessions, block_length(sessions, horizon), 0)
    return skill_error_bar(np.broadcast_to(losses, against.shape), against, counts).standard_error


def _sums(values: Floats, counts: Floats) -> Floats:
    """Return the sums over drawn sessions [..., replication]."""
    sessions = values.shape[-1]
    if sessions != counts.shape[1]:
        raise UsageError(
            f"losses over {sessions} sessions cannot be resampled with draws of {counts.shape[1]}: draw from the "
            "sessions of the losses"
        )
    sums: Floats = (values.reshape(-1, sessions) @ counts.T).reshape(*values.shape[:-1], len(counts))
    return sums


def _ratio(above: Floats, below: Floats) -> Floats:
    ratio: Floats = np.divide(above, below, out=np.full(np.shape(above), np.nan), where=np.not_equal(below, 0))
    return ratio


def _bar(estimate: Floats, replicated: Floats) -> ErrorBar:
    """Return the spread of replications [..., replication], those that are NaN excluded."""
    known = np.isfinite(replicated)
    number = known.sum(axis=-1)
    mean = _ratio(np.where(known, replicated, 0.0).sum(axis=-1), number)
    squares = np.where(known, replicated - mean[..., None], 0.0) ** 2
    error = np.sqrt(_ratio(squares.sum(axis=-1), np.maximum(number - 1, 0)))
    ordered = np.sort(replicated, axis=-1)  # NaN come last
    return ErrorBar(estimate, error, _percentile(ordered, number, _LOWER), _percentile(ordered, number, _UPPER))


def _percentile(ordered: Floats, number: Indices, share: float) -> Floats:
    """Return the percentile of the first `number` of ordered values, between two in proportion to the distance."""
    place = share * np.maximum(number - 1, 0)
    below = np.floor(place).astype(np.int64)
    above = np.ceil(place).astype(np.int64)
    low, high = (np.take_along_axis(ordered, at[..., None], axis=-1)[..., 0] for at in (below, above))
    percentile: Floats = low + (high - low) * (place - below)
    return percentile
