"""The bars of a run split by calendar, as a panel has one calendar."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TypeVar

from pipeline.dataset.covariates.from_files import read_file_covariates
from pipeline.dataset.frames import Frames
from pipeline.errors import NothingUsableError, TapecastError
from pipeline.experiment import Experiment
from pipeline.market.bars import Bars, CalendarMismatch, Exclusion, Listing, Problem, Restated, Stale, ValidatedBars
from pipeline.market.calendars import calendar_of
from pipeline.market.specification import PriceBasis
from pipeline.market.universe import Universe
from pipeline.stages import frames_of

T = TypeVar("T", Problem, Exclusion, Stale, Restated)


@dataclass(frozen=True)
class LoadedBars:
    """The accepted bars of a run, of every calendar, and what has to be reported with them.

    `known_at` is the instant as of which the store returns these prices again; None where they are not stored.
    `listings` are those that the source names, of excluded tickers too; others follow from the ticker's name.
    """

    validated: ValidatedBars
    stale: tuple[Stale, ...]
    note: str
    known_at: datetime | None
    universe: Universe | None
    listings: Mapping[str, Listing] = field(default_factory=dict)
    price_basis: PriceBasis = "as_traded"
    restated: tuple[Restated, ...] = ()


@dataclass(frozen=True)
class CalendarBars:
    """The bars of one calendar of a run, those of its other calendars, and the findings on its own tickers."""

    bars: Bars
    others: tuple[Bars, ...]
    problems: tuple[Problem, ...]
    excluded: tuple[Exclusion, ...]
    stale: tuple[Stale, ...]
    note: str
    known_at: datetime | None
    universe: Universe | None
    calendar_mismatches: tuple[CalendarMismatch, ...] = ()
    price_basis: PriceBasis = "as_traded"
    restated: tuple[Restated, ...] = ()

    @property
    def calendar(self) -> str:
        """The calendar of all its bars."""
        return self.bars.calendars[0]

    @property
    def other_tickers(self) -> tuple[str, ...]:
        """The tickers of the run's other calendars."""
        return tuple(ticker for bars in self.others for ticker in bars.tickers)

    def concerns(self, tickers: Collection[str]) -> bool:
        """Return whether one of the tickers has bars of this calendar, or was excluded from it."""
        return any(ticker in tickers for ticker in (*self.bars.tickers, *(out.ticker for out in self.excluded)))


def by_calendar(loaded: LoadedBars) -> tuple[CalendarBars, ...]:
    """Return the bars by calendar, the one with most tickers first.

    Findings on tickers whose calendar has no bars are reported with the first.
    """
    bars = loaded.validated.bars
    ordered = sorted(
        map(bars.of_calendar, bars.calendars),
        key=lambda calendar_bars: (-len(calendar_bars.tickers), calendar_bars.calendars),
    )
    calendars = [calendar_bars.calendars[0] for calendar_bars in ordered]

    def of_calendar(items: Sequence[T], calendar: str) -> tuple[T, ...]:
        return tuple(item for item in items if reported_with(item.ticker, calendars, loaded.listings) == calendar)

    def mismatches(calendar: str) -> tuple[CalendarMismatch, ...]:
        mismatched = loaded.validated.calendar_mismatches
        return tuple(it for it in mismatched if (it.calendar if it.calendar in calendars else calendars[0]) == calendar)

    return tuple(
        CalendarBars(
            bars=calendar_bars,
            others=tuple(other for other in ordered if other is not calendar_bars),
            problems=of_calendar(loaded.validated.problems, calendar),
            excluded=of_calendar(loaded.validated.excluded, calendar),
            stale=of_calendar(loaded.stale, calendar),
            note=loaded.note,
            known_at=loaded.known_at,
            universe=loaded.universe,
            calendar_mismatches=mismatches(calendar),
            price_basis=loaded.price_basis,
            restated=of_calendar(loaded.restated, calendar),
        )
        for calendar_bars, calendar in zip(ordered, calendars, strict=True)
    )


def reported_with(ticker: str, calendars: Sequence[str], listings: Mapping[str, Listing]) -> str:
    """Return the calendar that a ticker is reported with: its own, or the first where that has no bars."""
    try:
        calendar = listings[ticker].calendar if ticker in listings else calendar_of(ticker)
    except TapecastError:
        return calendars[0]
    return calendar if calendar in calendars else calendars[0]


def frames_on(bars: CalendarBars, experiment: Experiment, members: tuple[str, ...] | None = None) -> Frames:
    """Return the frames of one calendar; `members` (default: all its tickers) make the market features."""
    file_covariates = read_file_covariates(experiment.sectors, experiment.covariates)
    return frames_of(bars.bars, experiment, members, bars.others, bars.universe, file_covariates)


def forecastable(frames: Frames, bars: CalendarBars, tickers: Sequence[str] | None = None) -> Frames:
    """Return the frames of the tickers (default: all) that were not excluded.

    Raises NothingUsableError when none is left.
    """
    excluded = {out.ticker for out in bars.excluded}
    requested = frames.tickers if tickers is None else tickers
    kept = [ticker for ticker in frames.tickers if ticker in requested and ticker not in excluded]
    if not kept:
        raise nothing_left([out for out in bars.excluded if out.ticker in requested])
    return frames.of(kept)


def nothing_left(excluded: Sequence[Exclusion], mismatches: Iterable[CalendarMismatch] = ()) -> NothingUsableError:
    """Return the error that says why no ticker is left, first that the bars do not fit their calendar."""
    reasons = "; ".join(map(str, excluded))
    return NothingUsableError(" ".join([*map(str, mismatches), f"no usable ticker is left: {reasons}"]), excluded)
