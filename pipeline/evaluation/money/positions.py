"""Positions: the weights that each rule decides at a close, from the quantiles known there and nothing else.

Arrays are [session, ticker]. A row depends on the same row alone, so that no rule can look ahead. A median of zero,
a forecaster that is silent and quantiles without any width give no position.
"""

from collections.abc import Callable, Mapping

import numpy as np
from scipy.special import ndtri

from pipeline.arrays import Floats, Floats32
from pipeline.evaluation.money.specification import SESSIONS_PER_YEAR, MoneySpec, Rule
from pipeline.forecasters.forecaster import LEVELS, MEDIAN

LOW, HIGH = LEVELS.index(0.10), LEVELS.index(0.90)
BAND_IN_DEVIATIONS = float(ndtri(LEVELS[HIGH]) - ndtri(LEVELS[LOW]))

Decide = Callable[[Floats, Floats, MoneySpec], Floats]


def yearly_volatility(quantiles: Floats32 | Floats, horizon: int) -> Floats:
    """Return the volatility that quantiles [..., level] of a log return over `horizon` sessions say, as a yearly one.

    The width of the 80 % band over that of a standard normal, times sqrt(252 / horizon).
    """
    width = quantiles[..., HIGH].astype(np.float64) - quantiles[..., LOW]
    volatility: Floats = width / BAND_IN_DEVIATIONS * np.sqrt(SESSIONS_PER_YEAR / horizon)
    return volatility


def median_of(quantiles: Floats32 | Floats) -> Floats:
    """Return the medians [...] of quantiles [..., level], NaN where any level is missing."""
    spoken = np.isfinite(quantiles).all(axis=-1)
    return np.where(spoken, quantiles[..., MEDIAN].astype(np.float64), np.nan)


def strengths(median: Floats, volatility: Floats, entry_bps: float) -> Floats:
    """Return median / volatility where the median's size exceeds the entry threshold, zero elsewhere."""
    wanted = (np.abs(median) > entry_bps / 10_000) & (volatility > 0)
    return np.divide(median, volatility, out=np.zeros(median.shape), where=wanted)


def shared_out(strength: Floats, gross: float, most_weight: float) -> Floats:
    """Return weights in proportion to strengths >= 0, none above `most_weight`, with the sum `gross` where it can be.

    What a capped ticker leaves goes to the others in proportion: weight = min(scale x strength, most_weight), with
    the scale at which the sum is `gross`; all are capped where even that is less.
    """
    falling = -np.sort(-strength, axis=1)
    remaining = falling[:, ::-1].cumsum(axis=1)[:, ::-1]  # strength of the k-th strongest and all weaker ones
    left = np.maximum(gross - most_weight * np.arange(strength.shape[1]), 0.0)  # once all stronger ones are capped
    scale = np.divide(left, remaining, out=np.zeros(strength.shape), where=remaining > 0)
    fits = (scale * falling <= most_weight) & (falling > 0)
    first = np.take_along_axis(scale, fits.argmax(axis=1)[:, None], axis=1)
    scaled = np.where(fits.any(axis=1)[:, None], strength * first, np.inf)
    return np.where(strength > 0, np.minimum(scaled, most_weight), 0.0)


def long_only(median: Floats, volatility: Floats, spec: MoneySpec) -> Floats:
    """Return weights >= 0: tickers whose median is positive, in proportion to median / volatility."""
    strength = strengths(median, volatility, spec.entry_bps)
    return shared_out(np.maximum(strength, 0.0), spec.most_gross, spec.most_weight)


def long_short(median: Floats, volatility: Floats, spec: MoneySpec) -> Floats:
    """Return weights of both signs, each side as in long_only with half of the gross exposure.

    Where there are positions on both sides they are worth the same (dollar-neutral); a side alone stands as it is.
    """
    strength = strengths(median, volatility, spec.entry_bps)
    sides = [shared_out(np.maximum(sign * strength, 0.0), spec.most_gross / 2, spec.most_weight) for sign in (1, -1)]
    worth = [side.sum(axis=1, keepdims=True) for side in sides]
    equal = np.minimum(*worth)
    long, short = (
        np.where(equal > 0, side * np.divide(equal, own, out=np.zeros(own.shape), where=own > 0), side)
        for side, own in zip(sides, worth, strict=True)
    )
    weights: Floats = long - short
    return weights


def volatility_target(median: Floats, volatility: Floats, spec: MoneySpec) -> Floats:
    """Return weights sign(median) x target / volatility / n over the n tickers with a position, within the limits.

    Moskowitz, Ooi and Pedersen (2012), eq. 5: each position has the target's volatility on an n-th of the account,
    so that the whole has it if all moved as one, and less otherwise. Beyond a limit weights are cut: first each
    ticker's, then all in proportion.
    """
    sign = np.sign(strengths(median, volatility, spec.entry_bps))
    count = np.abs(sign).sum(axis=1, keepdims=True)
    wanted = np.divide(sign * spec.target_volatility, volatility * count, out=np.zeros(sign.shape), where=sign != 0)
    capped = np.clip(wanted, -spec.most_weight, spec.most_weight)
    gross = np.abs(capped).sum(axis=1, keepdims=True)
    weights: Floats = capped * np.divide(
        spec.most_gross, gross, out=np.ones(gross.shape), where=gross > spec.most_gross
    )
    return weights


DECISIONS: Mapping[Rule, Decide] = {
    "long_only": long_only,
    "long_short": long_short,
    "volatility_target": volatility_target,
}
