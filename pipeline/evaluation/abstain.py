"""When a baseline is published in the model's place; light to import."""

from typing import Literal

Abstain = Literal["never", "pooled", "ticker"]
"""Where the gate is not passed: never, asked of all tickers together, or of each ticker by itself."""
