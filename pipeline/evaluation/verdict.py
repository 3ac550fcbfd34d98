"""The verdict in plain words: better than the baselines or not, by how much, and where the value lies."""

import math
from dataclasses import dataclass

import pandas as pd

from pipeline.evaluation.echo import Echo
from pipeline.evaluation.gate import SIMPLE, Word, best_of, judge, pooled, words_by_ticker
from pipeline.evaluation.luck import Luck
from pipeline.forecasting.forecasts import NETWORK


@dataclass(frozen=True)
class Comparison:
    """The model against one opponent at one horizon, pooled over tickers; p is adjusted for what was tried."""

    baseline: str
    skill: float
    p: float
    word: Word


@dataclass(frozen=True)
class Verdict:
    """What a run showed of one model, at one horizon, pooled over tickers; `tickers` has the word of each."""

    model: str
    horizon: int
    comparisons: tuple[Comparison, ...]
    best_baseline: str
    tickers: dict[str, Word]
    echo: Echo
    sentence: str

    @property
    def best(self) -> Comparison:
        """The comparison with the simple baseline that has the smallest loss."""
        return next(c for c in self.comparisons if c.baseline == self.best_baseline)


def verdict(gate: pd.DataFrame, model: str, echo: Echo, luck: Luck, horizon: int = 1) -> Verdict:
    """Return the verdict on one model at one horizon from the gate's table and what its median is.

    The first sentence is about the simple baselines, which the gate holds; rivals have one of their own.
    """
    rows = pooled(gate, model, horizon)
    comparisons = tuple(_comparison(str(name), row) for name, row in rows.iterrows())
    best = best_of(rows[rows.index.isin(SIMPLE)])
    words = words_by_ticker(gate, model, horizon)
    parts = (
        _skill_sentence(model, [c for c in comparisons if c.baseline in SIMPLE], best),
        _rivals_sentence([c for c in comparisons if c.baseline not in SIMPLE]),
        _tickers_sentence(words),
        echo.sentence,
        _luck_sentence(luck),
    )
    return Verdict(model, horizon, comparisons, best, words, echo, " ".join(part for part in parts if part))


def _comparison(name: str, row: "pd.Series[float]") -> Comparison:
    p = float(row["p_adjusted"])
    return Comparison(name, float(row["skill"]), p, judge(float(row["t"]), p))


def _subject(model: str) -> str:
    return "The network" if model == NETWORK else f"The {model} network"


def _skill_sentence(model: str, comparisons: list[Comparison], name: str) -> str:
    subject, best = _subject(model), next(c for c in comparisons if c.baseline == name)
    better, worse, unclear = (_of_word(comparisons, word) for word in ("better", "worse", "no evidence"))
    if len(better) == len(comparisons):
        return (
            f"{subject} is better than every baseline: its pinball loss is {best.skill:.1%} smaller than that of "
            f"the best of them ({best.baseline}, {_p(best.p)})."
        )
    if math.isnan(best.p):  # the test needs more sessions, or losses that differ
        return (
            f"Nothing can be tested: too few sessions were scored, or a price stood still. {subject}'s pinball loss "
            f"is {_size(best.skill)} than that of the best baseline ({best.baseline})."
        )
    if best in worse:
        return (
            f"{subject} is worse than the best baseline ({best.baseline}): its pinball loss is {-best.skill:.1%} "
            f"larger ({_p(best.p)}). Use the baseline."
        )
    if worse:
        return f"{subject} is worse than {_names(worse)} ({_p(worse[0].p)}). Use the best baseline ({best.baseline})."
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
        f"{_size(best.skill)}, p = {best.p:.2f}."
    )


def _rivals_sentence(comparisons: list[Comparison]) -> str:
    """Return what the rivals say; nothing where there is none."""
    said = {"better": "better than", "worse": "worse than", "no evidence": "not told apart from"}
    parts = [f"{words} {_names(own)}" for word, words in said.items() if (own := _of_word(comparisons, word))]
    return f"Of the rivals it is {', '.join(parts)}." if parts else ""


def _of_word(comparisons: list[Comparison], word: str) -> list[Comparison]:
    return [c for c in comparisons if c.word == word]


def _tickers_sentence(words: dict[str, Word]) -> str:
    """Return of how many tickers that holds by itself; nothing where there is one ticker or none."""
    count = len(words)
    if count < 2:
        return ""
    found = list(words.values())
    return (
        f"Ticker by ticker it is better than every baseline for {found.count('better')} of {count}, worse than one "
        f"for {found.count('worse')}, and for {found.count('no evidence')} there is no evidence."
    )


def _luck_sentence(luck: Luck) -> str:
    if luck.tested == 1:
        return ""
    return (
        f"{luck.tested} specifications have been tested on these prices, and the p-values of the gate are raised for "
        "that: who tries often finds something by luck alone."
    )


def _p(p: float) -> str:
    return "p < 0.001" if p < 0.001 else f"p = {p:.3f}"


def _size(skill: float) -> str:
    if math.isnan(skill):
        return "not comparable, and not smaller"
    return f"{abs(skill):.1%} {'smaller' if skill >= 0 else 'larger'}"


def _names(comparisons: list[Comparison]) -> str:
    names = [c.baseline for c in comparisons]
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
