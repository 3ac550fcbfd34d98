"""How often luck was tried: specifications tested on the same prices, and those chosen among on validation."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Luck:
    """How many specifications were tried: `tested` ones have shown their test, `tuned` ones their validation only.

    This one is among both.
    """

    tested: int = 1
    tuned: int = 1

    @property
    def trials(self) -> int:
        """All specifications that the best was chosen from, this one counted once."""
        return self.tested + self.tuned - 1

    def adjusted(self, p: float) -> float:
        """Return the p-value of the smallest of `tested` independent ones: 1 - (1 - p)^tested (Sidak 1967)."""
        return 1 - (1 - p) ** self.tested  # NaN stays NaN
