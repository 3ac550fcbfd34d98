"""How often luck was tried: specifications tested on the same prices, and those chosen among on validation."""

from dataclasses import dataclass

import numpy as np

from pipeline.errors import UsageError


@dataclass(frozen=True)
class Luck:
    """How many specifications were tried: `tested` ones have shown their test, `tuned` ones their validation only.

    This one is among both.
    """

    tested: int = 1
    tuned: int = 1

    def __post_init__(self) -> None:
        """Raise UsageError where this one itself is not counted."""
        if min(self.tested, self.tuned) < 1:
            raise UsageError(
                f"found {self.tested} tested and {self.tuned} tuned specifications, expected at least one of each: "
                "the one that is judged counts too"
            )

    @property
    def trials(self) -> int:
        """All specifications that the best was chosen from, this one counted once."""
        return self.tested + self.tuned - 1

    @property
    def factor(self) -> int:
        """What a p-value is multiplied by: 1 for the first specification, k (k - 1) for the k-th."""
        return max(self.tested * (self.tested - 1), 1)

    def adjusted(self, p: float) -> float:
        """Return the p-value as that of the k-th look in an endless search, min(1, factor p); NaN stays NaN.

        Who tries until one passes looks k times, and each time there are fewer trials than in the end. The correction
        of the smallest of k, 1 - (1 - p)^k (Sidak 1967), counts the last look alone: under it, some look of a long
        history passes by luck far above the stated level. Here every look has a share of the level, as in the spending
        of Lan and DeMets (1983): 1, then 1 / (k (k - 1)), which sum to two; and a two-sided test calls half of its
        errors better. So the chance that any specification without skill is ever called better is at most the level,
        however many follow and however they depend on each other (Bonferroni). Specifications that are much alike, as
        those of one person are, count in full: there both corrections are more cautious than they need to be.
        """
        return float(np.minimum(1.0, self.factor * p))
