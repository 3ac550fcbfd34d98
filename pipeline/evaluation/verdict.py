"""The verdict in plain words: better than the baselines or not, by how much, and where the value lies."""

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd

from pipeline.dataset.panel import Floats
from pipeline.evaluation.backtest import NETWORK, Backtest
from pipeline.evaluation.scores import POOLED
from pipeline.evaluation.significance.diebold_mariano import bartlett_variance, long_lags
from pipeline.models.specification import MEDIAN

SIGNIFICANT = 0.05
ONE_SIDED_97_5 = 1.96

Word = Literal["better", "no evidence", "worse"]


@dataclass(frozen=True)
class Comparison:
    """The network against one baseline at one horizon."""

    baseline: str
    skill: float
    p: float
    word: Word


@dataclass(frozen=True)
class Verdict:
    """What a run showed, at one horizon, pooled over tickers."""

    horizon: int
    comparisons: tuple[Comparison, ...]
    median_informs: bool
    sentence: str


def judge(t: float, p: float) -> Word:
    """Return better or worse where the test is significant, by its sign, else no evidence."""
    if not p <= SIGNIFICANT:  # NaN is no evidence
        return "no evidence"
    return "better" if t < 0 else "worse"


def verdict(backtest: Backtest, skill: pd.DataFrame, significance: pd.DataFrame, horizon: int = 1) -> Verdict:
    """Return the verdict at one horizon from the pooled skills and tests."""
    tests = significance[significance["horizon"] == horizon].set_index("baseline")
    skills = skill.loc[[(horizon, POOLED)]].iloc[0]
    comparisons = tuple(
        _comparison(name, float(skills[name]), float(tests["dm_t"][name]), float(tests["dm_p"][name]))
        for name in backtest.baselines
    )
    informs = median_informs(backtest, horizon)
    return Verdict(horizon, comparisons, informs, f"{_skill_sentence(comparisons)} {_median_sentence(informs)}")


def _comparison(baseline: str, skill: float, t: float, p: float) -> Comparison:
    return Comparison(baseline, skill, p, judge(t, p))


def median_informs(backtest: Backtest, horizon: int) -> bool:
    """Return whether the network's median tells the direction: it goes with the outcome, and errs less than zero does.

    The mean per session of (median less its mean) x outcome, the covariance of a forecast with what it forecasts, is
    tested against zero with a Bartlett variance; and the mean squared error must be below that of no change at all,
    which a median that is right a little too often but far too bold does not reach.
    """
    where = backtest.scored[..., horizon - 1]  # [ticker, origin]
    median, outcome = backtest.quantiles[NETWORK][where, horizon - 1, MEDIAN], backtest.realised[where, horizon - 1]
    if not where.any() or not np.mean((outcome - median) ** 2) < np.mean(outcome**2):
        return False
    product = np.zeros(where.shape)
    product[where] = (median - median.mean()) * outcome
    count = where.sum(axis=0)
    return _above_zero(product.sum(axis=0)[count > 0] / count[count > 0], long_lags(horizon))


def _above_zero(values: Floats, lags: int) -> bool:
    """Return whether the mean of serially correlated values is above zero beyond luck."""
    if len(values) <= lags:
        return False
    variance = bartlett_variance(values, lags)
    return bool(variance > 0 and values.mean() / np.sqrt(variance / len(values)) > ONE_SIDED_97_5)


def _p(p: float) -> str:
    return "p < 0.001" if p < 0.001 else f"p = {p:.3f}"


def _skill_sentence(comparisons: tuple[Comparison, ...]) -> str:
    better = [c for c in comparisons if c.word == "better"]
    # A baseline that is never wrong (a price that stands still) has no skill to compare with, and is the best.
    best = min(comparisons, key=lambda c: -math.inf if math.isnan(c.skill) else c.skill)
    if len(better) == len(comparisons):
        return (
            f"The network is better than every baseline: its pinball loss is {best.skill:.1%} smaller than that of "
            f"the best of them ({best.baseline}, {_p(best.p)})."
        )
    if math.isnan(best.p):  # the test needs more sessions, or losses that differ
        return (
            "Nothing can be tested: too few sessions were scored, or a price stood still. The network's pinball loss "
            f"is {_size(best.skill)} than that of the best baseline ({best.baseline})."
        )
    if best.word == "worse":
        return (
            f"The network is worse than the best baseline ({best.baseline}): its pinball loss is {-best.skill:.1%} "
            f"larger ({_p(best.p)}). Use the baseline."
        )
    size = _size(best.skill)
    beaten = (
        f"better than {_names(better)}, but there is"
        if better
        else "not shown to be better than any baseline: there is"
    )
    return (
        f"The network is {beaten} no evidence that it beats the best baseline ({best.baseline}): its pinball loss is "
        f"{size}, p = {best.p:.2f}."
    )


def _size(skill: float) -> str:
    if math.isnan(skill):
        return "not comparable, and not smaller"
    return f"{abs(skill):.1%} {'smaller' if skill >= 0 else 'larger'}"


def _names(comparisons: list[Comparison]) -> str:
    names = [c.baseline for c in comparisons]
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def _median_sentence(informs: bool) -> str:
    if informs:
        return "Its median goes with the direction of the next return more than luck explains."
    return (
        "The median carries no information on direction, as expected of daily prices: the value is in the bands, "
        "which say how far the price may move."
    )
