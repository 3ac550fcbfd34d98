"""How long a use case waits for a store that does not answer, all of its records together."""

from dataclasses import dataclass

PATIENCE_SECONDS = 15.0
"""How long one use case waits in all for a store that does not answer: at its start, in its middle and at its end."""


@dataclass
class Patience:
    """What is left of the time, in seconds: every record of a use case draws on the same."""

    seconds: float = PATIENCE_SECONDS

    def spend(self, seconds: float) -> None:
        """Take away some time that was waited in vain."""
        self.seconds = max(0.0, self.seconds - seconds)

    def shorten(self, seconds: float) -> None:
        """Wait from now on no longer than this."""
        self.seconds = min(self.seconds, seconds)
