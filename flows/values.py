"""Values as JSON knows them."""

import math
from typing import Any


def plain(value: Any) -> Any:
    """Return a value that JSON knows: Python's own numbers, and None in place of NaN."""
    value = value.item() if hasattr(value, "item") else value
    return None if isinstance(value, float) and not math.isfinite(value) else value
