"""What a remote source answered about one ticker."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from typing import Protocol

import pandas as pd

from pipeline.errors import SourceError
from pipeline.market.bars import Problem


@dataclass(frozen=True, eq=False)
class Fetched:
    """One answer: a row per session as traded, from the day asked for to the end of what the source has.

    Columns: session (tz-naive dates, ascending, each once), open, high, low, close, volume, dividend, split, and
    adj_close as the vendor tells it; all but session are float64, NaN where the vendor told no number. `since` None:
    the whole history was asked for. `problems` are the repairs made on the way.
    """

    rows: pd.DataFrame
    since: date | None
    currency: str
    fetched_at: datetime
    problems: tuple[Problem, ...] = ()


class Remote(Protocol):
    """A source over the network."""

    def fetch(self, asked: Mapping[str, date | None]) -> Iterator[tuple[str, Fetched | SourceError]]:
        """Each asked ticker with its answer, or as a value the reason why there is none, in the order of arrival.

        The value is the first day wanted; None: the whole history.
        """
