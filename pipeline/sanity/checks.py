"""Sanity checks: numbers from backtests and audits, each with its accepted range."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.special import ndtri
from scipy.stats import binom

from pipeline.arrays import Floats, Sessions
from pipeline.audit.result import AuditResult
from pipeline.errors import SanityError
from pipeline.evaluation.comparisons import SIGNIFICANT, comparison_table, pooled
from pipeline.evaluation.echo import echo_of
from pipeline.evaluation.scores import mean_pinball, skill_of
from pipeline.evaluation.trials import Trials
from pipeline.forecasters.forecaster import LEVELS, MEDIAN
from pipeline.forecasting.backtest import Backtest
from pipeline.forecasting.forecasts import NETWORK
from pipeline.market.specification import SyntheticSource
from pipeline.market.synthetic import known_returns
from pipeline.wording import percent

CLIMATOLOGY = "climatology"

FALSE_POSITIVE_RATE = SIGNIFICANT / 2
"""Probability of apparent skill without any: the tests are two-sided at 5 %, and only one side is skill."""

MAX_FALSE_ALARM_RATE = 0.001
"""Probability at most with which a pipeline without a fault has more false positives than the check allows."""

SINE_RATIO_RANGE = (0.99, 1.10)
"""RMSE of the median over that of the optimal forecast on the same rows; the upper end is the mark of the sine flow."""

SHARE_RANGE = (0.75, 1.05)
"""Share of the theoretical optimum; the benchmark prints the minimum and the maximum of 30 seeds."""


@dataclass(frozen=True)
class SanityCheck:
    """The name of a check, its measure, the number found and its range, both ends included."""

    name: str
    measure: str
    found: float
    low: float
    high: float
    remark: str = ""

    @property
    def passed(self) -> bool:
        """Whether the number lies in its range; NaN never does."""
        return self.low <= self.found <= self.high

    @property
    def result(self) -> str:
        """Whether the number lies in its range, in words."""
        return "in range" if self.passed else "OUT OF RANGE"

    @property
    def bounds(self) -> str:
        """The range in words."""
        return f"{self.low:.4g} to {self.high:.4g}"

    @property
    def sentence(self) -> str:
        """The check in words."""
        sentence = f"{self.name}: {self.measure} {self.found:.4g} is {self.result} ({self.bounds})."
        return f"{sentence} {self.remark}".strip()


def sanity_table(checks: Sequence[SanityCheck]) -> pd.DataFrame:
    """Return a row per check: check, measure, found, low, high, passed, remark."""
    rows = [
        {
            "check": check.name,
            "measure": check.measure,
            "found": float(f"{check.found:.4g}") if np.isfinite(check.found) else None,
            "low": check.low,
            "high": check.high,
            "passed": check.passed,
            "remark": check.remark,
        }
        for check in checks
    ]
    return pd.DataFrame(rows)


def sanity_sentence(checks: Sequence[SanityCheck]) -> str:
    """Return how many checks are in range, in words."""
    failed = [check for check in checks if not check.passed]
    if not failed:
        return f"All {len(checks)} sanity checks are in range."
    return f"{len(failed)} of {len(checks)} sanity checks are out of range."


def refuse_out_of_range(checks: Sequence[SanityCheck]) -> None:
    """Raise SanityError naming every check whose number is out of its range."""
    failed = [check.sentence for check in checks if not check.passed]
    if failed:
        raise SanityError(f"{sanity_sentence(checks)} {' '.join(failed)} Do not trust this installation's forecasts")


# --- Comparison with the optimal forecast ---


@dataclass(frozen=True)
class OptimumComparison:
    """A network compared with the optimal forecast, one session ahead, on the same rows.

    Skill is over climatology. For an autoregression with coefficient c the optimum is expected at 1 - sqrt(1 - c^2).
    """

    skill: float
    optimum: float
    rmse_ratio: float  # RMSE of the network's median over that of the optimal forecast

    @property
    def share(self) -> float:
        """The share of the theoretical optimum; significantly above 1 means a leak."""
        return self.skill / self.optimum


def compare_with_optimum(backtest: Backtest, optimal: Floats) -> OptimumComparison:
    """Return the comparison at horizon 1 with the optimal quantiles [ticker, origin, level] of the log return."""
    where = backtest.scored[..., 0]
    outcome = backtest.realised[where, 0].astype(np.float64)
    errors = [outcome - values[:, MEDIAN] for values in (backtest.quantiles[NETWORK][where, 0], optimal[where])]
    network, climatology = (backtest.quantiles[name][where, 0].astype(np.float64) for name in (NETWORK, CLIMATOLOGY))
    baseline_loss = mean_pinball(climatology, outcome)
    return OptimumComparison(
        skill=skill_of(mean_pinball(network, outcome), baseline_loss),
        optimum=skill_of(mean_pinball(optimal[where], outcome), baseline_loss),
        rmse_ratio=float(np.sqrt(np.mean(errors[0] ** 2) / np.mean(errors[1] ** 2))),
    )


def optimal_quantiles(source: SyntheticSource, sessions: Sessions, origins: Sessions) -> Floats:
    """Return the true quantiles of the next session's log return [ticker, origin, level], NaN at the last session.

    `sessions` are those of the source's rows, `origins` some of them.
    """
    after = np.searchsorted(sessions, origins) + 1
    known = [known_returns(source, k) for k in range(source.tickers)]
    mean = np.stack([np.append(returns.expectation, np.nan)[after] for returns in known])
    volatility = np.stack([np.append(returns.volatility, np.nan)[after] for returns in known])
    quantiles: Floats = mean[..., None] + volatility[..., None] * ndtri(np.array(LEVELS))
    return quantiles


# --- The checks ---


def has_skill(backtest: Backtest) -> bool:
    """Return whether the network is significantly better than climatology one session ahead, pooled."""
    return bool(pooled(comparison_table(backtest, Trials()), NETWORK, 1)["conclusion"][CLIMATOLOGY] == "better")


def median_informs(backtest: Backtest) -> bool:
    """Return whether the network's median is significantly related to the next session's return."""
    return echo_of(backtest, NETWORK, claims=False, trials=Trials()).name == "informs"


def max_false_positives(seeds: int) -> int:
    """Return the number of false positives in `seeds` seeds that chance exceeds with at most MAX_FALSE_ALARM_RATE."""
    return int(binom.ppf(1 - MAX_FALSE_ALARM_RATE, seeds, FALSE_POSITIVE_RATE))


def sine_check(result: OptimumComparison) -> SanityCheck:
    """Return the check that the sine was learned to its mark, and not better than the optimum."""
    remark = f"Skill over {CLIMATOLOGY} {percent(result.skill)}; the optimal forecast has {percent(result.optimum)}."
    return SanityCheck("sine", "RMSE / optimal RMSE", result.rmse_ratio, *SINE_RATIO_RANGE, remark)


def no_signal_checks(name: str, skilled: Sequence[bool], informed: Sequence[bool]) -> tuple[SanityCheck, SanityCheck]:
    """Return the checks that skill and informative medians are no more frequent than by chance; a flag per seed."""
    return (
        _false_positives(f"{name}, no skill", f"seeds better than {CLIMATOLOGY}", skilled),
        _false_positives(f"{name}, no direction", "seeds whose median informs", informed),
    )


def _false_positives(name: str, measure: str, flags: Sequence[bool]) -> SanityCheck:
    remark = f"{len(flags)} seeds; each is a false positive with probability {percent(FALSE_POSITIVE_RATE)}."
    return SanityCheck(name, measure, sum(flags), 0, max_false_positives(len(flags)), remark)


def planted_checks(
    name: str, result: OptimumComparison, detected: Mapping[str, bool]
) -> tuple[SanityCheck, SanityCheck]:
    """Return the checks that each named test found a planted signal, and of the share of the optimum reached."""
    tests = ", ".join(f"{test}: {'yes' if yes else 'NO'}" for test, yes in detected.items())
    remark = f"Skill over {CLIMATOLOGY} {percent(result.skill)}; the optimal forecast has {percent(result.optimum)}."
    return (
        SanityCheck(
            f"{name}, found", "tests that find it", sum(detected.values()), len(detected), len(detected), f"{tests}."
        ),
        SanityCheck(f"{name}, share", "share of the optimum", result.share, *SHARE_RANGE, remark),
    )


def no_leak_check(result: AuditResult) -> SanityCheck:
    """Return the check that the audit finds no leak in the pipeline."""
    return SanityCheck("no leak", "stages that differ", len(result.differences), 0, 0, result.sentence)


def planted_leaks_check(results: Mapping[str, AuditResult]) -> SanityCheck:
    """Return the check that the audit detects planted leaks and names their stage, from results by the leak's stage."""
    detected = {stage: result.leak is not None and result.leak.stage == stage for stage, result in results.items()}
    remark = ", ".join(f"{stage}: {'yes' if yes else 'NO'}" for stage, yes in detected.items())
    count = len(detected)
    return SanityCheck(
        "planted leaks", "leaks detected and located", sum(detected.values()), count, count, f"{remark}."
    )


def leak_in_scores_check(skilled: Sequence[bool]) -> SanityCheck:
    """Return the check that a network that reads the outcome shows skill where there is none; a flag per seed."""
    remark = "A network that reads the outcome, on a random walk: the checks of no skill have to detect it."
    return SanityCheck(
        "leak, seen in scores", f"seeds better than {CLIMATOLOGY}", sum(skilled), len(skilled), len(skilled), remark
    )
