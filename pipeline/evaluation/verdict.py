"""The verdict in sentences: is the model better than the baselines, by how much, and what its median is worth."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from pipeline.evaluation.comparisons import (
    BASELINE_KINDS,
    Conclusion,
    best_of,
    conclusion_of,
    conclusions_by_ticker,
    pooled,
)
from pipeline.evaluation.contribution import Contribution
from pipeline.evaluation.echo import Echo
from pipeline.evaluation.trials import Trials, holm
from pipeline.forecasting.forecasts import NETWORK
from pipeline.wording import model_in_words, p_value, percent, sessions_ahead, size_percent


@dataclass(frozen=True)
class Comparison:
    """A model against another forecaster at one horizon, pooled.

    p is adjusted for the specifications tried, and of those that are no simple baselines for their number.
    """

    baseline: str
    skill: float
    p: float
    conclusion: Conclusion


@dataclass(frozen=True)
class Verdict:
    """The result of one model at one horizon, pooled over tickers; `tickers` has the conclusion on each."""

    model: str
    horizon: int
    comparisons: tuple[Comparison, ...]
    best_baseline: str
    tickers: dict[str, Conclusion]
    echo: Echo
    sentence: str

    @property
    def best(self) -> Comparison:
        """The comparison with the simple baseline that has the smallest loss."""
        return next(c for c in self.comparisons if c.baseline == self.best_baseline)


def verdict(
    comparisons: pd.DataFrame, model: str, echo: Echo, trials: Trials, network_adds: Sequence[Contribution] = ()
) -> Verdict:
    """Return the verdict on one model, one session ahead, from its comparisons and its echo classification.

    The first sentence is about the simple baselines: better than every one, each tested at the level, which needs no
    adjustment for their number (Berger 1982, theorem 1). The second says what the network adds. The other forecasters
    have a sentence of their own, with p-values adjusted for their number (Holm).
    """
    horizon = 1
    rows = pooled(comparisons, model, horizon)
    simple = rows.index.isin(BASELINE_KINDS)
    baselines = [_comparison(str(name), row, float(row["p_adjusted"])) for name, row in rows[simple].iterrows()]
    others = _others(rows[~simple])
    best = best_of(rows[simple])
    conclusions = conclusions_by_ticker(comparisons, model, horizon)
    parts = (
        _skill_sentence(model, baselines, best),
        network_sentence(network_adds),
        _others_sentence(others),
        _tickers_sentence(conclusions),
        echo.sentence,
        _trials_sentence(trials),
    )
    return Verdict(
        model, horizon, (*baselines, *others), best, conclusions, echo, " ".join(part for part in parts if part)
    )


def _others(rows: pd.DataFrame) -> list[Comparison]:
    """Return the comparisons with forecasters that are no simple baselines, adjusted for their number."""
    adjusted = holm(rows["p_adjusted"].to_numpy(np.float64))
    return [_comparison(str(name), row, float(p)) for (name, row), p in zip(rows.iterrows(), adjusted, strict=True)]


def _comparison(name: str, row: "pd.Series[float]", p: float) -> Comparison:
    return Comparison(name, float(row["skill"]), p, conclusion_of(float(row["t"]), p))


def _skill_sentence(model: str, comparisons: list[Comparison], name: str) -> str:
    subject, best = model_in_words(model).capitalize(), next(c for c in comparisons if c.baseline == name)
    better, worse, unclear = (_concluded(comparisons, each) for each in ("better", "worse", "no evidence"))
    if len(better) == len(comparisons):
        return (
            f"{subject} is better than every baseline: its pinball loss is {percent(best.skill)} smaller than that of "
            f"the best of them ({best.baseline}, {p_value(best.p)})."
        )
    if math.isnan(best.p):  # the test needs more sessions, or losses that differ
        return (
            f"Nothing can be tested: too few sessions were scored, or a price stood still. {subject}'s pinball loss "
            f"is {_size(best.skill)} than that of the best baseline ({best.baseline})."
        )
    if best in worse:
        return (
            f"{subject} is worse than the best baseline ({best.baseline}): its pinball loss is {percent(-best.skill)} "
            f"larger ({p_value(best.p)}). Use the baseline."
        )
    if worse:
        return (
            f"{subject} is worse than {_names(worse)} ({p_value(worse[0].p)}). Use the best baseline ({best.baseline})."
        )
    if best in better:
        return (
            f"{subject} is better than {_each(better)}, the best baseline ({best.baseline}) among them, but there is "
            f"no evidence that it beats {_names(unclear)}."
        )
    beaten = (
        f"better than {_each(better)}, but there is" if better else "not shown to be better than any baseline: there is"
    )
    return (
        f"{subject} is {beaten} no evidence that it beats the best baseline ({best.baseline}): its pinball loss is "
        f"{_size(best.skill)}, {p_value(best.p)}."
    )


def network_sentence(network_adds: Sequence[Contribution]) -> str:
    """Return what the network adds to the combination at the first and the last horizon; nothing without a test."""
    tested = [it for it in network_adds if math.isfinite(it.skill)]
    if not tested:
        return ""
    first, last = tested[0], tested[-1]
    ends = [first] if first.horizon == last.horizon else [first, last]
    sizes = " and ".join(f"{_network_size(it)} {sessions_ahead(it.horizon)} ({p_value(it.p)})" for it in ends)
    means = f"without it the loss would be {sizes}"
    found = {it.conclusion for it in ends}
    if "worse" in found:
        verb = "harms" if found == {"worse"} else "may harm"
        return f"The network {verb} the combination: {means}."
    if found == {"better"}:
        return f"The network adds to the combination: {means}."
    if "better" in found:
        return f"The network adds to the combination at one of these horizons: {means}."
    return f"It is not shown that the network adds anything to the combination: {means}."


def _network_size(it: Contribution) -> str:
    return f"{size_percent(it.skill)} {'larger' if it.skill >= 0 else 'smaller'}"


def _others_sentence(comparisons: list[Comparison]) -> str:
    """Return the comparison with the other forecasters; nothing where there is none."""
    phrases: dict[Conclusion, str] = {
        "better": "better than",
        "worse": "worse than",
        "no evidence": "not distinguishable from",
    }
    parts = [
        f"{phrase} {_names(group)}" for each, phrase in phrases.items() if (group := _concluded(comparisons, each))
    ]
    if not parts:
        return ""
    raised = f" (p-values raised for {len(comparisons)} comparisons)" if len(comparisons) > 1 else ""
    return f"Of the other forecasters it is {', '.join(parts)}{raised}."


def _concluded(comparisons: list[Comparison], conclusion: Conclusion) -> list[Comparison]:
    return [c for c in comparisons if c.conclusion == conclusion]


def _tickers_sentence(by_ticker: dict[str, Conclusion]) -> str:
    """Return for how many tickers each conclusion holds; nothing where there is one ticker or none."""
    count = len(by_ticker)
    if count < 2:
        return ""
    conclusions = list(by_ticker.values())
    return (
        f"Ticker by ticker it is better than every baseline for {conclusions.count('better')} of {count}, worse than "
        f"one for {conclusions.count('worse')}, and for {conclusions.count('no evidence')} there is no evidence."
    )


def _trials_sentence(trials: Trials) -> str:
    if not trials.known:
        return (
            "How many specifications were tested on these prices before is unknown, since their records could not be "
            "read: the p-values are not raised for them."
        )
    if trials.tested == 1:
        return ""
    return (
        f"{trials.tested} specifications have been tested on these prices, and the p-values of the comparisons and of "
        "the median are raised for that: who tries often finds something by chance alone."
    )


def _size(skill: float) -> str:
    if math.isnan(skill):
        return "not comparable, and not smaller"
    return f"{percent(abs(skill))} {'smaller' if skill >= 0 else 'larger'}"


def _each(comparisons: list[Comparison]) -> str:
    """Return the names of some baselines, with what their p-values are worth where they are several."""
    return f"{_names(comparisons)}{' (each tested by itself)' if len(comparisons) > 1 else ''}"


def _names(comparisons: list[Comparison]) -> str:
    names = ["the network" if c.baseline == NETWORK else c.baseline for c in comparisons]
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
