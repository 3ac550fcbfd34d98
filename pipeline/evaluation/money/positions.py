"""Positions: the weights that each trading rule decides at a close from its quantiles, and passive portfolios.

Arrays are [session, ticker]. A row depends on the same row alone, so that no rule can look ahead. A median within the
entry threshold, a missing forecast and quantiles without any width give no position.
"""

from collections.abc import Callable, Mapping

import numpy as np
from scipy.special import ndtri

from pipeline.arrays import Booleans, Floats, Floats32
from pipeline.evaluation.specification import SESSIONS_PER_YEAR, MoneySpec, TradingRule
from pipeline.forecasters.forecaster import LEVELS, MEDIAN

PASSIVE = "passive"
"""The forecaster's name in the rows of passive portfolios, which use no forecast: buy-and-hold and equal weight."""
_LOW, _HIGH = LEVELS.index(0.10), LEVELS.index(0.90)
BAND_IN_DEVIATIONS = float(ndtri(LEVELS[_HIGH]) - ndtri(LEVELS[_LOW]))

Decide = Callable[[Floats, Floats, MoneySpec], Floats]


def yearly_volatility(quantiles: Floats32 | Floats, horizon: int) -> Floats:
    """Return the yearly volatility implied by quantiles [..., level] of a log return over `horizon` sessions.

    The width of the 80 % band over that of a standard normal, times sqrt(252 / horizon).
    """
    width = quantiles[..., _HIGH].astype(np.float64) - quantiles[..., _LOW]
    volatility: Floats = width / BAND_IN_DEVIATIONS * np.sqrt(SESSIONS_PER_YEAR / horizon)
    return volatility


def median_of(quantiles: Floats32 | Floats) -> Floats:
    """Return the medians [...] of quantiles [..., level], NaN where any level is missing."""
    known = np.isfinite(quantiles).all(axis=-1)
    return np.where(known, quantiles[..., MEDIAN].astype(np.float64), np.nan)


def strengths(median: Floats, volatility: Floats, threshold_bps: float) -> Floats:
    """Return median / volatility where the median's size exceeds the threshold, zero elsewhere."""
    wanted = (np.abs(median) > threshold_bps / 10_000) & (volatility > 0)
    return np.divide(median, volatility, out=np.zeros(median.shape), where=wanted)


def proportional_weights(strength: Floats, gross: float, max_weight: float) -> Floats:
    """Return weights in proportion to strengths >= 0, none above `max_weight`, with the sum `gross` where possible.

    What a capped ticker leaves goes to the others in proportion: weight = min(scale x strength, max_weight), with
    the scale at which the sum is `gross`; all are capped where even that is less.
    """
    falling = -np.sort(-strength, axis=1)
    remaining = falling[:, ::-1].cumsum(axis=1)[:, ::-1]  # strength of the k-th strongest and all weaker ones
    left = np.maximum(gross - max_weight * np.arange(strength.shape[1]), 0.0)  # once all stronger ones are capped
    scale = np.divide(left, remaining, out=np.zeros(strength.shape), where=remaining > 0)
    fits = (scale * falling <= max_weight) & (falling > 0)
    first = np.take_along_axis(scale, fits.argmax(axis=1)[:, None], axis=1)
    scaled = np.where(fits.any(axis=1)[:, None], strength * first, np.inf)
    return np.where(strength > 0, np.minimum(scaled, max_weight), 0.0)


def long_only(median: Floats, volatility: Floats, spec: MoneySpec) -> Floats:
    """Return weights >= 0: tickers whose median is above the entry threshold, in proportion to median / volatility."""
    strength = strengths(median, volatility, spec.entry_threshold_bps)
    return proportional_weights(np.maximum(strength, 0.0), spec.max_gross, spec.max_weight)


def long_short(median: Floats, volatility: Floats, spec: MoneySpec) -> Floats:
    """Return weights of both signs, each side as in long_only with half of the gross exposure.

    Where there are positions on both sides they are worth the same (dollar-neutral); a side alone is unchanged.
    """
    strength = strengths(median, volatility, spec.entry_threshold_bps)
    sides = [
        proportional_weights(np.maximum(sign * strength, 0.0), spec.max_gross / 2, spec.max_weight) for sign in (1, -1)
    ]
    worth = [side.sum(axis=1, keepdims=True) for side in sides]
    equal = np.minimum(*worth)
    long, short = (
        np.where(equal > 0, side * np.divide(equal, total, out=np.zeros(total.shape), where=total > 0), side)
        for side, total in zip(sides, worth, strict=True)
    )
    weights: Floats = long - short
    return weights


def volatility_target(median: Floats, volatility: Floats, spec: MoneySpec) -> Floats:
    """Return weights sign(median) x target / volatility / n over the n tickers with a position, within the limits.

    Moskowitz, Ooi and Pedersen (2012), eq. 5: each position has the target's volatility on an n-th of the account,
    so that the whole account has it if all moved as one, and less otherwise. Beyond a limit weights are cut: first each
    ticker's, then all in proportion.
    """
    sign = np.sign(strengths(median, volatility, spec.entry_threshold_bps))
    count = np.abs(sign).sum(axis=1, keepdims=True)
    wanted = np.divide(sign * spec.target_volatility, volatility * count, out=np.zeros(sign.shape), where=sign != 0)
    capped = np.clip(wanted, -spec.max_weight, spec.max_weight)
    gross = np.abs(capped).sum(axis=1, keepdims=True)
    weights: Floats = capped * np.divide(spec.max_gross, gross, out=np.ones(gross.shape), where=gross > spec.max_gross)
    return weights


DECISIONS: Mapping[TradingRule, Decide] = {
    "long_only": long_only,
    "long_short": long_short,
    "volatility_target": volatility_target,
}


def equal_weight(forecast: Booleans) -> Floats:
    """Return equal weights with the sum one for all tickers that are forecast at the close [session, ticker]."""
    count = forecast.sum(axis=1, keepdims=True)
    weights: Floats = np.divide(forecast, count, out=np.zeros(forecast.shape), where=count > 0)
    return weights


def buy_and_hold(forecast: Booleans, tradable: Booleans) -> Floats:
    """Return one order per ticker [period, ticker], NaN where there is none.

    The tickers `forecast` [period, ticker] at the first close at which any is, each with the same part of the
    capital, are bought at the next open, or at their first `tradable` one after it, and never traded again.
    """
    if not forecast.any():
        return np.full(forecast.shape, np.nan)
    begin = int(forecast.any(axis=1).argmax())
    fills = np.where(np.arange(len(forecast))[:, None] >= begin, tradable, False).cumsum(axis=0)
    waiting = fills <= 1  # until it is filled, that fill included; without an open an order is not filled
    waiting[:begin] = False
    return np.where(waiting & forecast[begin], 1.0 / forecast[begin].sum(), np.nan)
