"""The markets of a run: what was loaded, split by calendar, as a panel has one calendar."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TypeVar

from pipeline.errors import TapecastError
from pipeline.market.bars import Admitted, Bars, LeftOut, Problem, Stale
from pipeline.market.calendars import calendar_of
from pipeline.market.universe import Universe

T = TypeVar("T", Problem, LeftOut, Stale)


@dataclass(frozen=True)
class Loaded:
    """What came through the door for a run, and what has to be said beside it.

    `known_at` is the instant as known at which the store tells these prices again; None where they are not kept there.
    """

    admitted: Admitted
    stale: tuple[Stale, ...]
    note: str
    known_at: datetime | None
    universe: Universe | None


@dataclass(frozen=True)
class Market:
    """One calendar's part of a run: its bars, those of the other calendars, and what was found in its own."""

    bars: Bars
    others: tuple[Bars, ...]
    problems: tuple[Problem, ...]
    left_out: tuple[LeftOut, ...]
    stale: tuple[Stale, ...]
    note: str
    known_at: datetime | None
    universe: Universe | None

    @property
    def calendar(self) -> str:
        """The calendar of all its bars."""
        return self.bars.calendars[0]

    @property
    def beside(self) -> tuple[str, ...]:
        """The tickers of the other calendars."""
        return tuple(ticker for bars in self.others for ticker in bars.tickers)

    def concerns(self, tickers: Collection[str]) -> bool:
        """Return whether one of the tickers is among its own, or was left out of it."""
        return any(one in tickers for one in (*self.bars.tickers, *(out.ticker for out in self.left_out)))


def markets_of(loaded: Loaded) -> tuple[Market, ...]:
    """Return a market per calendar, the one with most tickers first; what has no calendar is told with the first."""
    whole = loaded.admitted.bars
    ordered = sorted(map(whole.of_calendar, whole.calendars), key=lambda bars: (-len(bars.tickers), bars.calendars))
    calendars = [bars.calendars[0] for bars in ordered]

    def own(found: Sequence[T], calendar: str) -> tuple[T, ...]:
        return tuple(one for one in found if home_of(one.ticker, calendars) == calendar)

    return tuple(
        Market(
            bars=bars,
            others=tuple(other for other in ordered if other is not bars),
            problems=own(loaded.admitted.problems, calendar),
            left_out=own(loaded.admitted.left_out, calendar),
            stale=own(loaded.stale, calendar),
            note=loaded.note,
            known_at=loaded.known_at,
            universe=loaded.universe,
        )
        for bars, calendar in zip(ordered, calendars, strict=True)
    )


def home_of(ticker: str, calendars: Sequence[str]) -> str:
    """Return the calendar that a ticker is told with: its own, or the first where that has no bars."""
    try:
        own = calendar_of(ticker)
    except TapecastError:
        return calendars[0]
    return own if own in calendars else calendars[0]
