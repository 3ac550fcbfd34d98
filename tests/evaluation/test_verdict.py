"""The verdict: its words follow skill and significance, and the median is said to inform only where it does."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from pipeline.evaluation.backtest import Backtest
from pipeline.evaluation.scores import POOLED
from pipeline.evaluation.verdict import judge, median_informs, verdict

from .made import made_backtest

BASELINES = ("climatology", "last_close", "drift", "ewma", "linear")


def tables(skills: list[float], ps: list[float]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Tables whose test goes the way of the skill at horizon 1, and that say otherwise at horizon 2."""
    index = pd.MultiIndex.from_tuples([(1, POOLED), (2, POOLED)], names=["horizon", "ticker"])
    skill = pd.DataFrame([skills, [-9.0] * 5], index=index, columns=BASELINES)
    rows = list(zip(BASELINES, skills, ps, strict=True))
    tests = [{"horizon": 1, "baseline": name, "dm_t": -np.sign(gain), "dm_p": p} for name, gain, p in rows]
    tests += [{"horizon": 2, "baseline": name, "dm_t": 9.0, "dm_p": 0.0} for name in BASELINES]
    return skill, pd.DataFrame(tests)


@pytest.mark.parametrize(
    ("t", "p", "word"),
    [
        (-3.0, 0.01, "better"),
        (-2.0, 0.05, "better"),
        (-1.9, 0.051, "no evidence"),
        (3.0, 0.01, "worse"),
        (0.3, 0.5, "no evidence"),
        (float("nan"), float("nan"), "no evidence"),
    ],
)
def test_the_word_follows_sign_and_significance(t: float, p: float, word: str) -> None:
    assert judge(t, p) == word


@pytest.mark.parametrize(
    ("skills", "ps", "start"),
    [
        (
            [0.05, 0.04, 0.04, 0.02, 0.03],
            [0.001] * 5,
            "The network is better than every baseline: its pinball loss is 2.0% smaller than that of the best of them "
            "(ewma, p = 0.001).",
        ),
        (
            [0.05, 0.04, 0.04, 0.02, 0.03],
            [0.0004] * 5,
            "The network is better than every baseline: its pinball loss is 2.0% smaller than that of the best of them "
            "(ewma, p < 0.001).",
        ),
        (
            [0.05, 0.04, 0.04, 0.01, 0.03],
            [0.001, 0.001, 0.001, 0.3, 0.02],
            "The network is better than climatology, last_close, drift and linear, but there is no evidence that it "
            "beats the best baseline (ewma): its pinball loss is 1.0% smaller, p = 0.30.",
        ),
        (
            [0.01, 0.01, 0.01, -0.01, 0.01],
            [0.5] * 5,
            "The network is not shown to be better than any baseline: there is no evidence that it beats the best "
            "baseline (ewma): its pinball loss is 1.0% larger, p = 0.50.",
        ),
        (
            [0.05, 0.04, 0.04, 0.02, -0.03],
            [0.001] * 5,
            "The network is worse than the best baseline (linear): its pinball loss is 3.0% larger (p = 0.001).",
        ),
    ],
)
def test_the_sentence_says_better_worse_or_no_evidence(skills: list[float], ps: list[float], start: str) -> None:
    found = verdict(made_backtest(), *tables(skills, ps))
    assert found.sentence.startswith(start)
    assert [c.skill for c in found.comparisons] == skills
    assert not found.median_informs
    assert "The median carries no information on direction" in found.sentence


def with_median(share: float, noise: float, origins: int = 300) -> Backtest:
    """Outcomes have deviation 0.02; the network's median is a share of them and noise."""
    backtest = made_backtest(origins=origins, seed=3)
    network = np.array(backtest.quantiles["network"])
    wrong = np.random.default_rng(4).normal(0, noise, backtest.realised.shape)
    network[..., 3] = share * np.nan_to_num(backtest.realised) + wrong
    return replace(backtest, quantiles={**backtest.quantiles, "network": network.astype(np.float32)})


def test_a_median_informs_where_it_goes_with_the_outcome() -> None:
    assert median_informs(with_median(0.3, 0.01), 1)
    assert not median_informs(with_median(0.0, 0.01), 1)
    assert not median_informs(with_median(-0.3, 0.01), 1)
    assert not median_informs(with_median(0.5, 0.04), 1)  # it goes with it, but errs more than no change does
    sentence = verdict(with_median(0.3, 0.01), *tables([0.1] * 5, [0.2] * 5)).sentence
    assert "Its median goes with the direction" in sentence


def test_a_constant_or_zero_median_informs_of_nothing() -> None:
    backtest = with_median(0.0, 0.01)
    rising = replace(backtest, realised=backtest.realised + np.float32(0.03))  # a market that only rises
    for value in (0.0, 0.001):
        constant = np.array(backtest.quantiles["network"])
        constant[..., 3] = value
        assert not median_informs(replace(rising, quantiles={**backtest.quantiles, "network": constant}), 1)
    assert not median_informs(made_backtest(origins=15), 1)
