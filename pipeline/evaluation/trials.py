"""Multiple testing: p-values adjusted for the specifications tried on the same prices, and over many tests at once."""

from dataclasses import dataclass

import numpy as np
from scipy.stats import false_discovery_control

from pipeline.arrays import Floats
from pipeline.errors import UsageError


@dataclass(frozen=True)
class Trials:
    """How many specifications were tried: `tested` on their test range, `tuned` on their validation range only.

    Both counts include the specification under evaluation. `known` is False where what was tested before could not be
    read: then `tested` is the least that it can be.
    """

    tested: int = 1
    tuned: int = 1
    known: bool = True

    def __post_init__(self) -> None:
        """Raise UsageError where the specification under evaluation is not counted."""
        if min(self.tested, self.tuned) < 1:
            raise UsageError(
                f"found {self.tested} tested and {self.tuned} tuned specifications, expected at least one of each: "
                "the specification under evaluation counts too"
            )

    @property
    def total(self) -> int:
        """All specifications that the best was chosen from, the one under evaluation counted once."""
        return self.tested + self.tuned - 1

    @property
    def factor(self) -> int:
        """What a p-value is multiplied by: 1 for the first specification, k (k - 1) for the k-th."""
        return max(self.tested * (self.tested - 1), 1)

    def adjusted(self, p: float) -> float:
        """Return the p-value of the k-th test in an unlimited search, min(1, factor p); NaN stays NaN.

        A search that stops at the first success tests k times, each time after fewer trials than in the end. The
        correction of the smallest of k, 1 - (1 - p)^k (Sidak 1967), corrects the last test alone: under it, some test
        of a long history passes by chance far above the stated level. Here every test has a share of the level, as in
        the spending of Lan and DeMets (1983): 1, then 1 / (k (k - 1)), which sum to two; and a two-sided test calls
        half of its errors better. So the chance that any specification without skill is ever called better is at most
        the level, however many follow and however they depend on each other (Bonferroni). Specifications that are much
        alike, as those of one person are, count in full: there both corrections are more cautious than they need to be.
        """
        return float(np.minimum(1.0, self.factor * p))


def holm(p: Floats) -> Floats:
    """Return p adjusted over all tests [test]: below a level, some true null is rejected at most that often.

    Holm (1979), step-down: the largest over smaller ones of p (m - rank + 1), m the tests that have a p. It holds
    however the tests depend on each other. NaN stays NaN and is not counted.
    """
    adjusted = np.full(p.shape, np.nan)
    order = [int(at) for at in np.argsort(p) if np.isfinite(p[at])]
    largest = 0.0
    for rank, at in enumerate(order):
        largest = max(largest, min(1.0, float(p[at]) * (len(order) - rank)))
        adjusted[at] = largest
    return adjusted


def benjamini_hochberg(p: Floats) -> Floats:
    """Return p adjusted over all tests [test]: below a level q, at most the share q of discoveries is false on average.

    Benjamini and Hochberg (1995), step-up: the smallest over larger ones of p m / rank, m the tests that have a p. It
    holds for independent and for positively dependent tests, as those of tickers are. NaN stays NaN and is not counted.
    """
    known = np.isfinite(p)
    adjusted = np.full(p.shape, np.nan)
    adjusted[known] = false_discovery_control(p[known], method="bh")
    return adjusted
