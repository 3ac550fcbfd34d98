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
a >= 1, and exp(x - x^2) <= 1 + x for x >= -1/2,

    w_k,t <= w_k,t-1 (1 + eta_k,t-1 r_k,t) + (eta_k,t-1 / eta_k,t - 1) / (K e)   while eta_k,t-1 r_k,t >= -1/2.

Before k is awake R_k is zero, and w_k does not change whatever eta_k is. Sum over k, where sum_k p_k r_k = 0 by the
choice of c, and take the logarithm of w_k,T <= sum_j w_j,T (the proof of Gaillard, Stoltz and van Erven 2014, theorem
3, for exponential weights). That the rate is small enough is made sure before a forecast is issued, from |c - q_k|,
which is known by then: E_k grows to what |r_k| can be.

**Delay.** An outcome of horizon h is known h sessions later. A horizon has h copies of its learner that take turns, so
that each issues and learns without delay (Weinberger and Ordentlich 2002): the bound is the sum of theirs.

**Sleep.** A forecaster that is silent at a ticker adds nothing to its regret there: the bound is on the rounds and
tickers at which it is awake (Gaillard, Stoltz and van Erven 2014, section 4).

Quantiles are sorted after they are combined, which never raises the sum of losses over levels. Fixed share, forgetting
and smoothing over levels (Berrisch and Ziel 2023, section 2.3) are not used: on the ranges that the rule was chosen on
(tests/benchmarks/combination_choice.py) the first gained nothing, and the others lost. Of forecasters that join a
running combination nothing is claimed for the rounds before.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from pipeline.arrays import Booleans, Floats32, Indices, Sessions
from pipeline.forecasters.forecaster import LEVELS
from pipeline.forecasting.combination_state import CombinationState
from pipeline.forecasting.learners import Learners

ABSURD = 20.0
"""A quantile that is further from zero than this many volatilities is no forecast: its forecaster is silent there."""
FALLBACK = "climatology"
"""The forecaster that stands where all are silent, its own quantiles absurd though they be."""
SESSIONS_AT_ONCE = 128
"""Sessions that are prepared together: more need more memory and are no faster."""

_LEVELS: Floats32 = np.array(LEVELS, dtype=np.float32)


@dataclass(frozen=True, eq=False)
class Origins:
    """What the combination reads of sessions without a gap, besides the quantiles.

    `outcome` is by the session at which it became known, NaN where it did not (outcomes_known_at); `volatility` is
    daily. Nothing is learned from the tickers that are not among `learned_from`, though they are forecast.
    """

    sessions: Sessions  # [session]
    outcome: Floats32  # [ticker, session, horizon]
    volatility: Floats32  # [ticker, session]
    learned_from: Booleans  # [ticker]

    def at(self, part: slice) -> "Origins":
        """Return a part of the sessions."""
        return Origins(self.sessions[part], self.outcome[:, part], self.volatility[:, part], self.learned_from)


@dataclass(frozen=True, eq=False)
class Combined:
    """Combined quantiles, none crossing, NaN where every forecaster is silent, and the weights that made them.

    The weights are those of forecasters that are all awake.
    """

    quantiles: Floats32  # [ticker, session, horizon, level]
    weights: Floats32  # [session, horizon, level, forecaster]
    state: CombinationState


def combined(state: CombinationState, origins: Origins, quantiles: Mapping[str, Floats32]) -> Combined:
    """Return the combined quantiles of sessions, the weights, and the state after them.

    `quantiles` [ticker, session, horizon, level] by forecaster, NaN where one is silent. Tickers and forecasters are
    the state's.
    """
    parts = []
    for first in range(0, len(origins.sessions), SESSIONS_AT_ONCE):
        part = slice(first, first + SESSIONS_AT_ONCE)
        given = [quantiles[name][:, part].transpose(1, 2, 3, 0) for name in state.forecasters]
        shape = (*given[0].shape[:3], len(given), len(state.tickers))  # [session, horizon, level, forecaster, ticker]
        stacked = np.stack(given, axis=3, out=np.empty(shape, np.float32))  # contiguous: five times faster to read
        parts.append(_combined(state, origins.at(part), stacked))
        state = parts[-1].state
    if not parts:
        shape = (state.horizons, len(LEVELS))
        nothing = np.empty((len(state.tickers), 0, *shape), np.float32)
        return Combined(nothing, np.empty((0, *shape, len(state.forecasters)), np.float32), state)
    found = np.concatenate([part.quantiles for part in parts], axis=1)
    if FALLBACK in quantiles:
        silent = ~np.isfinite(found).all(axis=-1, keepdims=True)
        found = np.where(silent, quantiles[FALLBACK], found)
    return Combined(found, np.concatenate([part.weights for part in parts]), state)


def weights_of(state: CombinationState, back: int = 0) -> Floats32:
    """Return the weights [horizon, level, forecaster] of the state's last session, or of one `back` before it."""
    return Learners(state).weights(_copies(state, -1 - back)).astype(np.float32)


def combined_by(weights: Floats32, quantiles: Sequence[Floats32]) -> Floats32:
    """Return quantiles [ticker, session, horizon, level] of each forecaster combined by weights [..., forecaster]."""
    stacked = np.stack(quantiles, axis=-1)  # [ticker, session, horizon, level, forecaster]
    share = weights * np.isfinite(stacked).all(axis=-2, keepdims=True)
    total = share.sum(axis=-1)
    with np.errstate(invalid="ignore"):  # NaN where all are silent
        mean = np.where(share > 0, share * stacked, 0).sum(axis=-1) / np.where(total > 0, total, np.nan)
    result: Floats32 = np.sort(mean, axis=-1).astype(np.float32)
    return result


def _combined(state: CombinationState, origins: Origins, given: Floats32) -> Combined:
    """Return the combination of a part of the sessions; `given` is [session, horizon, level, forecaster, ticker]."""
    horizons, count, ahead = state.horizons, len(given), np.arange(state.horizons)
    scale = origins.volatility.T[:, None] * np.sqrt(np.arange(1, horizons + 1, dtype=np.float32))[:, None]  # [s, h, i]
    awake = _awake(given, scale)  # [s, h, 1, k, i]
    all_awake = np.asarray(awake.all(axis=(1, 2, 3, 4)))
    given = given if all_awake.all() else np.where(awake, given, np.float32(0))
    known = origins.outcome.transpose(1, 2, 0)  # [s, h, i]
    learns = np.asarray(np.isfinite(known).any(axis=(1, 2)))
    # The first H rows are those of the state, the oldest first.
    away, sums = (_below(it[::-1], count) for it in (state.away, state.combined))  # [row, h, l, k, i], [row, h, l, i]
    unit = np.concatenate([state.unit[::-1], _units(awake, scale, origins)])  # [row, h, i]
    weights = np.empty((count, *state.regret.shape[:1], *state.regret.shape[2:]), np.float32)
    learners = Learners(state)
    for at in range(count):
        copy, row = _copies(state, at), horizons + at
        if learns[at]:
            then = row - 1 - ahead, ahead  # of every horizon the session whose outcome is known now
            learners.learn(copy, _regret(known[at], sums[then], away[then], unit[then]))
        asleep = None if all_awake[at] else awake[at]
        weights[at], sums[row], away[row] = learners.issue(copy, given[at], asleep, unit[row])
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
    return Combined(_in_order(sums[horizons:]).transpose(3, 0, 1, 2), weights, after)


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
    """Return where each forecaster is awake [session, horizon, 1, forecaster, ticker]: all levels finite, none absurd.

    A volatility that is zero or unknown does not say what is absurd.
    """
    most = np.where(scale > 0, np.float32(ABSURD) * scale, np.float32(np.inf))[:, :, None, None]
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
