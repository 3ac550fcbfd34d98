"""The verdict in plain words: better than the baselines or not, by how much, and where the value lies."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd

from pipeline.evaluation.backtest import NETWORK, Backtest
from pipeline.evaluation.scores import POOLED
from pipeline.evaluation.significance import bartlett_variance, long_lags
from pipeline.models.specification import MEDIAN

SIGNIFICANT = 0.05

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


def judge(skill: float, p: float) -> Word:
    """Return better or worse where the test is significant, else no evidence."""
    if not p <= SIGNIFICANT:  # NaN is no evidence
        return "no evidence"
    return "better" if skill > 0 else "worse"


def verdict(backtest: Backtest, skill: pd.DataFrame, significance: pd.DataFrame, horizon: int = 1) -> Verdict:
    """Return the verdict at one horizon from the pooled skills and tests."""
    p_values = significance[significance["horizon"] == horizon].set_index("baseline")["dm_p"]
    skills = skill.loc[[(horizon, POOLED)]].iloc[0]
    comparisons = tuple(
        Comparison(name, float(skills[name]), float(p_values[name]), judge(float(skills[name]), float(p_values[name])))
        for name in backtest.baselines
    )
    informs = median_informs(backtest, horizon)
    return Verdict(horizon, comparisons, informs, f"{_skill_sentence(comparisons)} {_median_sentence(informs)}")


def median_informs(backtest: Backtest, horizon: int) -> bool:
    """Return whether the network's median goes with the realised return beyond luck.

    The mean per session of median x outcome is tested against zero with a Bartlett variance: the covariance of a
    forecast with what it forecasts, which is zero for a median that knows nothing of the direction.
    """
    where = backtest.scored[..., horizon - 1]
    median = np.where(where, backtest.quantiles[NETWORK][..., horizon - 1, MEDIAN], 0.0)
    outcome = np.where(where, backtest.realised[..., horizon - 1], 0.0)
    count = where.sum(axis=0)
    median = median - median.sum() / max(where.sum(), 1)
    product = (np.where(where, median, 0.0) * outcome).sum(axis=0)[count > 0] / count[count > 0]
    lags = long_lags(horizon)
    if len(product) <= lags:
        return False
    variance = bartlett_variance(product, lags)
    return bool(variance > 0 and product.mean() / np.sqrt(variance / len(product)) > 1.96)


def _skill_sentence(comparisons: tuple[Comparison, ...]) -> str:
    better = [c for c in comparisons if c.word == "better"]
    best = min(comparisons, key=lambda c: c.skill)
    if len(better) == len(comparisons):
        return (
            f"The network is better than every baseline: its pinball loss is {best.skill:.1%} smaller than that of "
            f"the best of them ({best.baseline}, p = {best.p:.3f})."
        )
    if best.word == "worse":
        return (
            f"The network is worse than the best baseline ({best.baseline}): its pinball loss is {-best.skill:.1%} "
            f"larger (p = {best.p:.3f}). Use the baseline."
        )
    size = f"{abs(best.skill):.1%} {'smaller' if best.skill >= 0 else 'larger'}"
    beaten = (
        f"better than {_names(better)}, but there is"
        if better
        else "not shown to be better than any baseline: there is"
    )
    return (
        f"The network is {beaten} no evidence that it beats the best baseline ({best.baseline}): its pinball loss is "
        f"{size}, p = {best.p:.2f}."
    )


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
