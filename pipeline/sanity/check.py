"""A sanity check: a number, and the range that it has to lie in."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from pipeline.errors import SanityError


@dataclass(frozen=True)
class Check:
    """What was measured on what, the number found and its range, both ends included."""

    name: str
    measure: str
    found: float
    low: float
    high: float
    remark: str = ""

    @property
    def passed(self) -> bool:
        """Whether the number lies in its range; NaN lies in none."""
        return self.low <= self.found <= self.high

    @property
    def sentence(self) -> str:
        """The check in words."""
        word = "is in range" if self.passed else "is OUT OF RANGE"
        told = f"{self.name}: {self.measure} {self.found:.4g} {word} ({self.low:.4g} to {self.high:.4g})."
        return f"{told} {self.remark}".strip()


def table(checks: Sequence[Check]) -> pd.DataFrame:
    """Return a row per check: check, measure, found, low, high, passed, remark."""
    rows = [
        {
            "check": one.name,
            "measure": one.measure,
            "found": float(f"{one.found:.4g}") if np.isfinite(one.found) else None,
            "low": one.low,
            "high": one.high,
            "passed": one.passed,
            "remark": one.remark,
        }
        for one in checks
    ]
    return pd.DataFrame(rows)


def verdict_sentence(checks: Sequence[Check]) -> str:
    """Return how many checks are in range, in words."""
    failed = [one for one in checks if not one.passed]
    if not failed:
        return f"All {len(checks)} sanity checks are in range."
    return f"{len(failed)} of {len(checks)} sanity checks are out of range."


def refuse_out_of_range(checks: Sequence[Check]) -> None:
    """Raise SanityError naming every check whose number is out of its range."""
    failed = [one.sentence for one in checks if not one.passed]
    if failed:
        raise SanityError(f"{verdict_sentence(checks)} {' '.join(failed)} Do not trust this installation's forecasts")
