"""The verdict in plain words: better than the baselines or not, by how much, and where the value lies."""

import math
from dataclasses import dataclass

import pandas as pd

from pipeline.evaluation.backtest import NETWORK
from pipeline.evaluation.echo import Echo
from pipeline.evaluation.gate import Word, best_of, judge, pooled, words_by_ticker
from pipeline.evaluation.luck import Luck


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
    tickers: dict[str, Word]
    echo: Echo
    sentence: str

    @property
    def best(self) -> Comparison:
        """The comparison with the opponent that has the smallest loss."""
        return min(self.comparisons, key=lambda c: -math.inf if math.isnan(c.skill) else c.skill)


def verdict(gate: pd.DataFrame, model: str, echo: Echo, luck: Luck, horizon: int = 1) -> Verdict:
    """Return the verdict on one model at one horizon from the gate's table and what its median is."""
    rows = pooled(gate, model, horizon)
    comparisons = tuple(_comparison(str(name), row) for name, row in rows.iterrows())
    best = next(c for c in comparisons if c.baseline == best_of(rows))
    words = words_by_ticker(gate, model, horizon)
    parts = (_skill_sentence(model, comparisons, best), _tickers_sentence(words), echo.sentence, _luck_sentence(luck))
    return Verdict(model, horizon, comparisons, words, echo, " ".join(part for part in parts if part))


def _comparison(name: str, row: "pd.Series[float]") -> Comparison:
    return Comparison(
        name, float(row["skill"]), float(row["p_adjusted"]), judge(float(row["t"]), float(row["p_adjusted"]))
    )


def _subject(model: str) -> str:
    return "The network" if model == NETWORK else f"The {model} network"


def _skill_sentence(model: str, comparisons: tuple[Comparison, ...], best: Comparison) -> str:
    better = [c for c in comparisons if c.word == "better"]
    subject = _subject(model)
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
    if best.word == "worse":
        return (
            f"{subject} is worse than the best baseline ({best.baseline}): its pinball loss is {-best.skill:.1%} "
            f"larger ({_p(best.p)}). Use the baseline."
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
        f"{luck.tested} specifications have been tested on these prices, and every p-value is raised for that: who "
        "tries often finds something by luck alone."
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
