"""The combination of forecasters: quantile by quantile, by weights learned online from the outcomes known by then.

Bernstein online aggregation (Wintenberger 2017) on gradients of the pinball loss (Berrisch and Ziel 2023, CRPS
learning, section 2), a learner for each horizon and level. Written for one learner, with forecasters k, rounds t and
tickers i that were forecast at the round's origin:

    combined      c_i = sum_k p_k a_ki q_ki / sum_k p_k a_ki,  a_ki 1 where k forecasts i ("awake"), else 0
    regret        r_k = 1/n sum_i a_ki (1{y_i < c_i} - level) (c_i - q_ki) / s_i,  s_i = volatility_i sqrt(horizon)
    learned       R_k += r_k - eta_k r_k^2,  V_k += r_k^2
    rate          eta_k = min(1 / (2 E_k), RATE sqrt(log K / V_k))
    weight        p_k proportional to eta_k exp(eta_k R_k)

**Plain (horizon 1).** The mean loss in units of s of the combination exceeds that of forecaster k, over the tickers
where k is awake and summed over rounds, by at most

    sum_t r_k,t  <=  sum_t eta_k,t-1 r_k,t^2 + (log K + log(1 + D / e)) / eta_k,T,
    D = 1/K sum_j sum_t (eta_j,t-1 / eta_j,t - 1), the rounds t since j was first awake.

The loss is convex, so its difference is at most r_k. Let w_k,t = exp(eta_k,t R_k,t) / K. As x <= x^a + (a - 1) / e for
a >= 1, and exp(x - x^2) <= 1 + x for x >= -0.68,

    w_k,t <= w_k,t-1 (1 + eta_k,t-1 r_k,t) + (eta_k,t-1 / eta_k,t - 1) / (K e)   while eta_k,t-1 r_k,t >= -0.68.

Before k is awake R_k is zero, and w_k does not change whatever eta_k is. Sum over k, where sum_k p_k r_k = 0 by the
choice of c, and take the logarithm of w_k,T <= sum_j w_j,T (the proof of Gaillard, Stoltz and van Erven 2014, theorem
3, for exponential weights). That the rate is small enough is made sure before a forecast is issued, from |c - q_k|,
which is known by then: where eta_k times that is above 0.6, E_k grows to what |r_k| can be. All of this is in exact
arithmetic: quantiles are float32, so that forecasters that differ by less than their rounding, some 1e-6 volatilities,
cannot be distinguished.

**Delay.** An outcome of horizon h is known h sessions later. A horizon has h copies of its learner that take turns, so
that each issues and learns without delay (Weinberger and Ordentlich 2002): the bound is the sum of theirs.

**Sleep.** A forecaster that is silent at a ticker adds nothing to its regret there: the bound is on the rounds and
tickers at which it is awake (Gaillard, Stoltz and van Erven 2014, section 4).

Quantiles are sorted after they are combined, which never raises the sum of losses over levels. Fixed share, forgetting
and smoothing over levels (Berrisch and Ziel 2023, section 2.3) are not used: on the ranges that the rule was chosen on
(tests/benchmarks/combination_choice.py) the first gained nothing, and the others lost. The bounds are on members alone,
not on a forecaster that is not combined, and on the combination, not on what is calibrated of it; rounds at which all
are silent are not among them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from pipeline.arrays import Booleans, Floats, Floats32, Indices
from pipeline.forecasters.forecaster import LEVELS
from pipeline.forecasting.combination_state import CombinationState
from pipeline.forecasting.learners import Learners
from pipeline.forecasting.span import Origins

IMPLAUSIBLE = 20.0
"""A quantile that is further from zero than this many volatilities is no forecast: its forecaster is silent there.

So is a log return of this size where the volatility is zero or unknown."""
FALLBACK = "climatology"
"""The forecaster that stands where all are silent, its own quantiles implausible though they be."""
SESSIONS_AT_ONCE = 128
"""Sessions that are prepared together: more need more memory and are no faster."""

_LEVELS: Floats32 = np.array(LEVELS, dtype=np.float32)


@dataclass(frozen=True, eq=False)
class Combined:
    """Combined quantiles, none crossing, NaN where every forecaster is silent, and the weights that made them.

    The weights are those with which the forecasters went into the quantiles, on the mean of the tickers; `answered` is
    the share of the tickers that each of them forecast.
    """

    quantiles: Floats32  # [ticker, session, horizon, level]
    weights: Floats32  # [session, horizon, level, forecaster]
    answered: Floats32  # [session, horizon, forecaster]
    state: CombinationState


def combined(state: CombinationState, origins: Origins, quantiles: Mapping[str, Floats32]) -> Combined:
    """Return the combined quantiles of sessions, the weights, and the state after them.

    `quantiles` [ticker, session, horizon, level] by forecaster, NaN where one is silent. Tickers and forecasters are
    the state's.
    """
    parts = []
    for first in range(0, len(origins.sessions), SESSIONS_AT_ONCE):
        part = slice(first, first + SESSIONS_AT_ONCE)
        given = _stacked([quantiles[name][:, part] for name in state.forecasters])
        parts.append(_combined(state, origins.at(part), given))
        state = parts[-1].state
    if not parts:
        return _nothing(state)
    found = np.concatenate([part.quantiles for part in parts], axis=1)
    return Combined(
        _with_fallback(found, quantiles),
        np.concatenate([part.weights for part in parts]),
        np.concatenate([part.answered for part in parts]),
        state,
    )


def combined_again(state: CombinationState, volatility: Floats32, quantiles: Mapping[str, Floats32]) -> Combined:
    """Return quantiles combined by the weights of the state's last session; nothing is learned, nor is it issued."""
    given = _stacked([quantiles[name] for name in state.forecasters])
    awake = _awake(given, _scale(volatility, state.horizons))  # [s, h, 1, k, i]
    weights = np.broadcast_to(
        Learners(state).weights(_copies(state, -1)), (len(given), state.horizons, len(LEVELS), len(state.forecasters))
    )
    used = _used(weights, awake)  # [s, h, l, k, i]
    mean = np.where(awake, used * np.where(awake, given, 0), 0).sum(axis=3)  # [s, h, l, i]
    mean = np.where(awake.any(axis=3), mean, np.nan)
    found = np.sort(mean, axis=2).transpose(3, 0, 1, 2).astype(np.float32)
    shares, answered = _over_tickers(used, awake)
    return Combined(_with_fallback(found, quantiles), shares, answered, state)


def _stacked(quantiles: Sequence[Floats32]) -> Floats32:
    """Return quantiles [ticker, session, horizon, level] as [session, horizon, level, forecaster, ticker]."""
    given = [values.transpose(1, 2, 3, 0) for values in quantiles]
    shape = (*given[0].shape[:3], len(given), given[0].shape[3])
    return np.stack(given, axis=3, out=np.empty(shape, np.float32))  # contiguous: five times faster to read


def _with_fallback(found: Floats32, quantiles: Mapping[str, Floats32]) -> Floats32:
    """Return combined quantiles with those of the fallback where all were silent."""
    if FALLBACK not in quantiles:
        return found
    silent = ~np.isfinite(found).all(axis=-1, keepdims=True)
    return np.where(silent, quantiles[FALLBACK], found)


def _nothing(state: CombinationState) -> Combined:
    """Return the combination of no session."""
    horizons, levels, count = state.horizons, len(LEVELS), len(state.forecasters)
    return Combined(
        np.empty((len(state.tickers), 0, horizons, levels), np.float32),
        np.empty((0, horizons, levels, count), np.float32),
        np.empty((0, horizons, count), np.float32),
        state,
    )


def _used(weights: Floats, awake: Booleans) -> Floats:
    """Return the weights [..., level, forecaster, ticker] with which forecasters that are awake are averaged."""
    used = weights[..., None] * awake
    total = used.sum(axis=-2, keepdims=True)
    result: Floats = used / np.where(total > 0, total, 1)
    return result


def _over_tickers(used: Floats, awake: Booleans) -> tuple[Floats32, Floats32]:
    """Return the mean weights [..., level, forecaster] over the tickers that are forecast, and who answered at them."""
    count = np.maximum(awake.any(axis=-2, keepdims=True).sum(axis=-1), 1)  # [..., 1, 1]
    answered = awake.sum(axis=-1) / count  # [..., 1, forecaster]
    return (used.sum(axis=-1) / count).astype(np.float32), answered[..., 0, :].astype(np.float32)


def _combined(state: CombinationState, origins: Origins, given: Floats32) -> Combined:
    """Return the combination of a part of the sessions; `given` is [session, horizon, level, forecaster, ticker]."""
    horizons, count, ahead = state.horizons, len(given), np.arange(state.horizons)
    scale = _scale(origins.volatility, horizons)
    awake = _awake(given, scale)  # [s, h, 1, k, i]
    all_awake = np.asarray(awake.all(axis=(1, 2, 3, 4)))
    # Where some are silent at a ticker that others forecast; one that none forecasts changes no weight.
    some: Booleans = np.asarray(awake.any(axis=3)) & ~np.asarray(awake.all(axis=3))  # [s, h, 1, i]
    partly = np.asarray(some.any(axis=(1, 2, 3)))
    given = given if all_awake.all() else np.where(awake, given, np.float32(0))
    known = origins.outcome.transpose(1, 2, 0)  # [s, h, i]
    learns = np.asarray(np.isfinite(known).any(axis=(1, 2)))
    # The first H rows are those of the state, the oldest first.
    away, sums = (_below(it[::-1], count) for it in (state.away, state.combined))  # [row, h, l, k, i], [row, h, l, i]
    unit = np.concatenate([state.unit[::-1], _units(awake, scale, origins)])  # [row, h, i]
    weights = np.empty((count, *state.regret.shape[:1], *state.regret.shape[2:]), np.float32)
    answered = np.ones((*weights.shape[:2], weights.shape[3]), np.float32)
    learners = Learners(state)
    for at in range(count):
        copy, row = _copies(state, at), horizons + at
        if learns[at]:
            then = row - 1 - ahead, ahead  # of every horizon the session whose outcome is known now
            learners.learn(copy, _regret(known[at], sums[then], away[then], unit[then]))
        asleep = None if all_awake[at] else awake[at]
        weights[at], sums[row], away[row] = learners.issue(copy, given[at], asleep, unit[row])
        if partly[at]:
            weights[at], answered[at] = _over_tickers(_used(weights[at], awake[at]), awake[at])
    newest = slice(-1, -1 - horizons, -1)
    after = replace(
        state,
        regret=learners.arrays["regret"],
        variance=learners.arrays["variance"],
        largest=learners.arrays["largest"],
        away=away[newest].copy(),
        combined=sums[newest].copy(),
        unit=unit[newest].copy(),
        count=state.count + count,
        session=origins.sessions[-1],
    )
    return Combined(_in_order(sums[horizons:]).transpose(3, 0, 1, 2), weights, answered, after)


def _scale(volatility: Floats32, horizons: int) -> Floats32:
    """Return the volatility over each horizon [session, horizon, ticker] of a daily one [ticker, session]."""
    scale: Floats32 = volatility.T[:, None] * np.sqrt(np.arange(1, horizons + 1, dtype=np.float32))[:, None]
    return scale


def _regret(outcome: Floats32, issued: Floats32, away: Floats32, unit: Floats32) -> Floats32:
    """Return the regret [horizon, level, forecaster] of what was issued [horizon, level, ticker], by its outcome.

    `outcome` and `unit` are [horizon, ticker], `away` is [horizon, level, forecaster, ticker].
    """
    size = np.where(np.isfinite(outcome), unit, np.float32(0))
    slope = ((outcome[:, None] < issued) - _LEVELS[:, None]) * size[:, None]
    regret: Floats32 = np.matmul(away, slope[..., None])[..., 0]
    return regret


def _below(rows: Floats32, count: int) -> Floats32:
    """Return rows with NaN for `count` more below them."""
    return np.concatenate([rows, np.full((count, *rows.shape[1:]), np.nan, np.float32)])


def _awake(given: Floats32, scale: Floats32) -> Booleans:
    """Return where each forecaster is awake [session, horizon, 1, forecaster, ticker]: all levels are plausible."""
    most = np.float32(IMPLAUSIBLE) * np.where(scale > 0, scale, np.float32(1))[:, :, None, None]
    furthest = np.abs(given).max(axis=2, keepdims=True)  # NaN where a level is
    awake: Booleans = np.isfinite(furthest) & (furthest <= most)
    return awake


def _units(awake: Booleans, scale: Floats32, origins: Origins) -> Floats32:
    """Return 1 / (n s) [session, horizon, ticker], zero where nothing is learned."""
    learned = awake[:, :, 0].any(axis=2) & (scale > 0) & origins.learned_from
    count = np.maximum(learned.sum(axis=2, keepdims=True), 1)
    unit: Floats32 = np.where(learned, 1 / (np.where(learned, scale, 1) * count), 0).astype(np.float32)
    return unit


def _in_order(quantiles: Floats32) -> Floats32:
    """Return quantiles [session, horizon, level, ticker] sorted by level; few cross."""
    result = np.array(quantiles)
    crossing = (np.diff(quantiles, axis=2) < 0).any(axis=(1, 2, 3))
    result[crossing] = np.sort(quantiles[crossing], axis=2)
    return result


def _copies(state: CombinationState, at: int) -> Indices:
    """Return the copy of each horizon [horizon] whose turn it is `at` sessions after the state's next one.

    It issued h sessions ago, learns what came of that, and issues now.
    """
    return (state.count + at) % np.arange(1, state.horizons + 1)
