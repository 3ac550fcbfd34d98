"""The verdict in sentences: is the model better than the baselines, by how much, and what its median is worth."""

import math
from dataclasses import dataclass

import pandas as pd

from pipeline.evaluation.comparisons import (
    BASELINE_KINDS,
    Conclusion,
    best_of,
    conclusion_of,
    conclusions_by_ticker,
    pooled,
)
from pipeline.evaluation.echo import Echo
from pipeline.evaluation.trials import Trials
from pipeline.wording import model_in_words, p_value, percent


@dataclass(frozen=True)
class Comparison:
    """A model against one baseline or benchmark at one horizon, pooled; p is adjusted for the specifications tried."""

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


def verdict(comparisons: pd.DataFrame, model: str, echo: Echo, trials: Trials, horizon: int = 1) -> Verdict:
    """Return the verdict on one model at one horizon from the table of comparisons and its echo classification.

    The first sentence is about the simple baselines; benchmarks have a sentence of their own.
    """
    rows = pooled(comparisons, model, horizon)
    pairs = tuple(_comparison(str(name), row) for name, row in rows.iterrows())
    best = best_of(rows[rows.index.isin(BASELINE_KINDS)])
    conclusions = conclusions_by_ticker(comparisons, model, horizon)
    parts = (
        _skill_sentence(model, [c for c in pairs if c.baseline in BASELINE_KINDS], best),
        _benchmarks_sentence([c for c in pairs if c.baseline not in BASELINE_KINDS]),
        _tickers_sentence(conclusions),
        echo.sentence,
        _trials_sentence(trials),
    )
    return Verdict(model, horizon, pairs, best, conclusions, echo, " ".join(part for part in parts if part))


def _comparison(name: str, row: "pd.Series[float]") -> Comparison:
    p = float(row["p_adjusted"])
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
            f"{subject} is better than {_names(better)}, the best baseline ({best.baseline}) among them, but there is "
            f"no evidence that it beats {_names(unclear)}."
        )
    beaten = (
        f"better than {_names(better)}, but there is"
        if better
        else "not shown to be better than any baseline: there is"
    )
    return (
        f"{subject} is {beaten} no evidence that it beats the best baseline ({best.baseline}): its pinball loss is "
        f"{_size(best.skill)}, {p_value(best.p)}."
    )


def _benchmarks_sentence(comparisons: list[Comparison]) -> str:
    """Return the comparison with the benchmarks; nothing where there is none."""
    phrases: dict[Conclusion, str] = {
        "better": "better than",
        "worse": "worse than",
        "no evidence": "not distinguishable from",
    }
    parts = [
        f"{phrase} {_names(group)}" for each, phrase in phrases.items() if (group := _concluded(comparisons, each))
    ]
    return f"Of the benchmarks it is {', '.join(parts)}." if parts else ""


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


def _names(comparisons: list[Comparison]) -> str:
    names = [c.baseline for c in comparisons]
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
