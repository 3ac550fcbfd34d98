"""Column names: the spellings that vendors use, brought to the names of a bars frame."""

from collections import Counter
from collections.abc import Iterable

import pandas as pd

SPELLINGS = {
    "symbol": "ticker",
    "date": "session",
    "datetime": "session",
    "adjclose": "adj_close",
    "adjusted_close": "adj_close",
    "dividends": "dividend",
    "splits": "split",
    "stock_split": "split",
    "stock_splits": "split",
}
PER_TICKER = ("session", "open", "high", "low", "close", "volume")


def canonical(name: object) -> str:
    """The bars frame's name of a column as a vendor spells it; an unknown one in lower case."""
    plain = str(name).strip().lower().replace(" ", "_").replace("-", "_")
    return SPELLINGS.get(plain, plain)


def renamed(frame: pd.DataFrame) -> pd.DataFrame:
    """The frame under the bars frame's column names."""
    return frame.rename(columns=canonical)


def missing(names: Iterable[object], required: Iterable[str]) -> list[str]:
    """The required columns that are not among the names, however these are spelled."""
    found = {canonical(name) for name in names}
    return [name for name in required if name not in found]


def ambiguous(names: Iterable[object]) -> list[str]:
    """The columns that more than one of the names stands for."""
    return [name for name, count in Counter(canonical(name) for name in names).items() if count > 1]
