"""The universe: which tickers a run is about, and when each of them belonged to the list."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipeline.market.universe_file import Spell, find_list, read_spells

SHORTEST_SPAN_DAYS = 365
"""Over a shorter test few companies fail, and nothing is said of survivorship."""


@dataclass(frozen=True)
class Universe:
    """A named list of tickers, each once, and their spells of membership; none where the list has no dates."""

    name: str
    tickers: tuple[str, ...]
    memberships: tuple[Spell, ...] = ()


def read_universe(named: Path, lists: Path) -> Universe:
    """The universe of a file, or of the list of that name in the folder of lists.

    It holds a ticker per line, or is CSV with ticker, member_from and member_until. Raises UsageError where there is
    no such list, and, naming the line, where it cannot be read, holds no ticker, a bad name, a ticker twice, dates that
    are none or in the wrong order, or spells of one ticker that overlap.
    """
    path = find_list(named, lists)
    spells = read_spells(path)
    dated = any(spell.member_from or spell.member_until for spell in spells)
    tickers = tuple(dict.fromkeys(spell.ticker for spell in spells))
    return Universe(path.stem, tickers, spells if dated else ())


def membership_mask(universe: Universe, tickers: Sequence[str], sessions: NDArray[np.datetime64]) -> NDArray[np.bool_]:
    """Whether each ticker belonged to the universe [ticker, session]; everywhere True where it has no dates.

    A ticker that a dated list does not name never belonged to it.
    """
    if not universe.memberships:
        return np.ones((len(tickers), len(sessions)), dtype=bool)
    belonged = np.zeros((len(tickers), len(sessions)), dtype=bool)
    row = {ticker: at for at, ticker in enumerate(tickers)}
    for spell in universe.memberships:
        if spell.ticker in row:
            begin = np.searchsorted(sessions, _day(spell.member_from or date.min), "left")
            end = np.searchsorted(sessions, _day(spell.member_until or date.max), "right")
            belonged[row[spell.ticker], begin:end] = True
    return belonged


def survivorship_warning(
    universe: Universe | None,
    tickers: Sequence[str],
    first_tested: np.datetime64 | date,
    last_tested: np.datetime64 | date,
) -> str | None:
    """The sentence that belongs beside a test of today's list on the past, None where it does not apply.

    It does not where membership dates are known, or where less than a year is tested.
    """
    first, last = _day(first_tested), _day(last_tested)
    if (universe and universe.memberships) or last - first < np.timedelta64(SHORTEST_SPAN_DAYS, "D"):
        return None
    years = dict.fromkeys(str(day.astype("datetime64[Y]")) for day in (first, last))
    chosen = "This ticker was" if len(tickers) == 1 else f"These {len(tickers)} tickers were"
    tested = "is" if len(tickers) == 1 else "are"
    return (
        f"{chosen} chosen today and {tested} tested on {' to '.join(years)}: companies that failed since are missing, "
        "so results look better than they were (survivorship). A list with membership dates avoids that."
    )


def _day(day: np.datetime64 | date) -> np.datetime64:
    plain: np.datetime64 = np.array([day], "datetime64[D]")[0]
    return plain
