"""The verdict: its sentences follow skill and significance, and the echo's sentence is part of it."""

import numpy as np
import pandas as pd
import pytest

from pipeline.evaluation.comparisons import conclusion_of
from pipeline.evaluation.echo import Echo
from pipeline.evaluation.scores import POOLED
from pipeline.evaluation.trials import Trials
from pipeline.evaluation.verdict import verdict

BASELINES = ("climatology", "last_close", "drift", "ewma", "linear")


def comparisons_of(skills: list[float], ps: list[float]) -> pd.DataFrame:
    """A table whose tests have the sign of the skill at horizon 1, and the opposite elsewhere."""
    of_tickers = [("T0", -1.0), ("T1", -1.0), ("T2", 1.0)]
    rows = [
        {"ticker": POOLED, "baseline": name, "sessions": 99, "skill": gain, "t": -np.sign(gain), "p_adjusted": p}
        for name, gain, p in zip(BASELINES, skills, ps, strict=True)
    ]
    rows += [
        {"ticker": ticker, "baseline": name, "sessions": 99, "skill": -t, "t": t, "p_adjusted": 0.01}
        for ticker, t in of_tickers
        for name in BASELINES
    ]
    here = [{"horizon": 1, "forecaster": "network"} | row for row in rows]
    elsewhere = {"skill": -9.0, "t": 9.0, "p_adjusted": 0.0}
    others = [{"horizon": 2, "forecaster": "network"}, {"horizon": 1, "forecaster": "ridge"}]
    comparisons = pd.DataFrame([*here, *(other | row | elsewhere for other in others for row in rows)])
    return comparisons.assign(
        conclusion=[conclusion_of(t, p) for t, p in zip(comparisons["t"], comparisons["p_adjusted"], strict=True)]
    )


def echo_named(name: str) -> Echo:
    return Echo("network", 1, name, False, 0.01, -0.01, 0.002, 0.3, 0.3, -1, f"What the median is: {name}.")


@pytest.mark.parametrize(
    ("skills", "ps", "start"),
    [
        (
            [0.05, 0.04, 0.04, 0.02, 0.03],
            [0.001] * 5,
            "The network is better than every baseline: its pinball loss is 2.0 % smaller than that of the best of "
            "them (ewma, p = 0.001).",
        ),
        (
            [0.05, 0.04, 0.04, 0.02, 0.03],
            [0.0004] * 5,
            "The network is better than every baseline: its pinball loss is 2.0 % smaller than that of the best of "
            "them (ewma, p < 0.001).",
        ),
        (
            [0.05, 0.04, 0.04, 0.01, 0.03],
            [0.001, 0.001, 0.001, 0.3, 0.02],
            "The network is better than climatology, last_close, drift and linear (each tested by itself), but there "
            "is no evidence that it beats the best baseline (ewma): its pinball loss is 1.0 % smaller, p = 0.300.",
        ),
        (
            [0.01, 0.01, 0.01, -0.01, 0.01],
            [0.5] * 5,
            "The network is not shown to be better than any baseline: there is no evidence that it beats the best "
            "baseline (ewma): its pinball loss is 1.0 % larger, p = 0.500.",
        ),
        (
            [0.05, 0.04, 0.04, 0.02, -0.03],
            [0.001] * 5,
            "The network is worse than the best baseline (linear): its pinball loss is 3.0 % larger (p = 0.001).",
        ),
    ],
)
def test_the_sentence_says_better_worse_or_no_evidence(skills: list[float], ps: list[float], start: str) -> None:
    found = verdict(comparisons_of(skills, ps), "network", echo_named("no claim"), Trials())
    assert found.sentence.startswith(start)
    assert [c.skill for c in found.comparisons] == skills
    assert found.tickers == {"T0": "better", "T1": "better", "T2": "worse"}
    assert (
        "better than every baseline for 2 of 3, worse than one for 1, and for 0 there is no evidence" in found.sentence
    )
    assert found.sentence.endswith("What the median is: no claim.")
    assert found.best.skill == min(skills)


def test_what_is_not_the_best_but_beats_it_is_named() -> None:
    comparisons = comparisons_of([0.05, -0.01, 0.04, -0.03, 0.03], [0.001, 0.01, 0.001, 0.2, 0.001])
    found = verdict(comparisons, "network", echo_named("echo"), Trials())
    assert found.sentence.startswith("The network is worse than last_close (p = 0.010). Use the best baseline (ewma).")
    comparisons = comparisons_of([0.05, 0.04, 0.04, 0.02, 0.03], [0.2, 0.001, 0.001, 0.001, 0.001])
    other = verdict(comparisons, "network", echo_named("echo"), Trials())
    assert "the best baseline (ewma) among them, but there is no evidence that it beats climatology" in other.sentence


def test_the_other_forecasters_have_a_sentence_of_their_own() -> None:
    comparisons = comparisons_of([0.05] * 5, [0.001] * 5)
    plain = verdict(comparisons, "network", echo_named("echo"), Trials()).sentence
    row = {"horizon": 1, "forecaster": "network", "ticker": POOLED, "sessions": 99}
    benchmarks = [("har", -0.01, 1.0, 0.4), ("garch", 0.02, -1.0, 0.01), ("ridge", -0.02, 1.0, 0.02)]
    more = [
        row | {"baseline": n, "skill": s, "t": t, "p_adjusted": p, "conclusion": conclusion_of(t, p)}
        for n, s, t, p in benchmarks
    ]
    found = verdict(pd.concat([comparisons, pd.DataFrame(more)]), "network", echo_named("echo"), Trials())
    assert found.sentence.startswith(plain[: plain.index(".")])
    expected = "better than garch, worse than ridge, not distinguishable from har (p-values raised for 3 comparisons)."
    assert f"Of the other forecasters it is {expected}" in found.sentence
    assert [c.p for c in found.comparisons[5:]] == pytest.approx([0.4, 0.03, 0.04])  # Holm
    assert found.best.baseline in BASELINES


def test_it_says_how_many_specifications_were_tried() -> None:
    found = verdict(comparisons_of([0.1] * 5, [0.2] * 5), "network", echo_named("echo"), Trials(tested=12, tuned=30))
    assert "12 specifications have been tested on these prices" in found.sentence
    assert "the p-values of the comparisons and of the median are raised for that" in found.sentence
    assert "What the median is: echo." in found.sentence


def test_what_is_published_is_named() -> None:
    comparisons = comparisons_of([0.1] * 5, [0.001] * 5).replace({"network": "calibrated"})
    assert verdict(comparisons, "calibrated", echo_named("no claim"), Trials()).sentence.startswith(
        "The calibrated forecast is better"
    )


def test_nothing_can_be_tested_is_said() -> None:
    found = verdict(comparisons_of([0.1] * 5, [float("nan")] * 5), "network", echo_named("no claim"), Trials())
    assert found.sentence.startswith("Nothing can be tested")
