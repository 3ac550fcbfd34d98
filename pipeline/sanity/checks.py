"""The checks: each a number with its range, from backtests and audits as plain values."""

from collections.abc import Mapping, Sequence

from scipy.stats import binom

from pipeline.audit.verdict import Verdict
from pipeline.evaluation.echo import echo_of
from pipeline.evaluation.gate import SIGNIFICANT, gate_table, pooled
from pipeline.evaluation.luck import Luck
from pipeline.forecasting.backtest import Backtest
from pipeline.forecasting.forecasts import NETWORK
from pipeline.sanity.check import Check
from pipeline.sanity.optimum import USUAL, Reached

LEVEL = SIGNIFICANT / 2
"""How often luck alone looks like skill: the tests are two-sided at 5 %, and only one side is skill."""
RARE = 0.001
"""How often honest seeds may be told off: with this probability luck gives more false positives than are allowed."""

SINE_RATIO = (0.99, 1.10)
"""RMSE of the median over that of the best forecast on the same rows; above is the mark of the sine flow."""
SHARE = (0.75, 1.05)
"""Share of the theoretical optimum; the benchmark prints the least and the most of 30 seeds."""


def has_skill(backtest: Backtest) -> bool:
    """Return whether the gate calls the network better than climatology one session ahead, pooled."""
    return bool(pooled(gate_table(backtest, Luck()), NETWORK, 1)["word"][USUAL] == "better")


def median_informs(backtest: Backtest) -> bool:
    """Return whether the network's median goes with the next session's return more than luck explains."""
    return echo_of(backtest, NETWORK, claims=False).name == "informs"


def most_by_luck(seeds: int) -> int:
    """Return the number of false positives in `seeds` seeds that luck exceeds with probability RARE at most."""
    return int(binom.ppf(1 - RARE, seeds, LEVEL))


def sine_check(result: Reached) -> Check:
    """Return whether the sine was learned to its mark, and not better than can be."""
    remark = f"Skill over {USUAL} {result.skill:.1%}; the best possible has {result.optimum:.1%}."
    return Check("sine", "RMSE / best possible", result.rmse_ratio, *SINE_RATIO, remark)


def nothing_checks(name: str, skilled: Sequence[bool], informed: Sequence[bool]) -> tuple[Check, Check]:
    """Return whether no skill, and no median that informs, was found more often than luck finds it; a flag per seed."""
    return (
        _false_positives(f"{name}, no skill", f"seeds better than {USUAL}", skilled),
        _false_positives(f"{name}, no direction", "seeds whose median informs", informed),
    )


def _false_positives(name: str, measure: str, flags: Sequence[bool]) -> Check:
    remark = f"{len(flags)} seeds; each is one by luck with a probability of {LEVEL:.1%}."
    return Check(name, measure, sum(flags), 0, most_by_luck(len(flags)), remark)


def planted_checks(name: str, result: Reached, found: Mapping[str, bool]) -> tuple[Check, Check]:
    """Return whether a planted signal was found, by each named test, and which share of the optimum was reached."""
    told = ", ".join(f"{test}: {'yes' if yes else 'NO'}" for test, yes in found.items())
    remark = f"Skill over {USUAL} {result.skill:.1%}; the best possible has {result.optimum:.1%}."
    return (
        Check(f"{name}, found", "tests that find it", sum(found.values()), len(found), len(found), f"{told}."),
        Check(f"{name}, share", "share of the optimum", result.share, *SHARE, remark),
    )


def honest_check(verdict: Verdict) -> Check:
    """Return whether the audit finds nothing in the pipeline as it is."""
    return Check("no leak", "stages that differ", len(verdict.differences), 0, 0, verdict.sentence)


def caught_check(verdicts: Mapping[str, Verdict]) -> Check:
    """Return whether the audit catches planted leaks and names their stage; by the stage that each sits in."""
    caught = {stage: verdict.leak is not None and verdict.leak.stage == stage for stage, verdict in verdicts.items()}
    told = ", ".join(f"{stage}: {'yes' if yes else 'NO'}" for stage, yes in caught.items())
    return Check(
        "planted leaks", "leaks caught and located", sum(caught.values()), len(caught), len(caught), f"{told}."
    )


def impossible_check(skilled: Sequence[bool]) -> Check:
    """Return whether a network that reads the outcome is seen to have skill where there is none; a flag per seed."""
    remark = "A network that reads the outcome, on a random walk: the checks of no skill have to see it."
    return Check("leak, seen in scores", f"seeds better than {USUAL}", sum(skilled), len(skilled), len(skilled), remark)
