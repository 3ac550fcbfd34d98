"""Validation of a source's prices: their rows, and the report on stored prices or files."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

import pandas as pd

from pipeline.errors import SourceError
from pipeline.experiment import Experiment
from pipeline.market.bars import CalendarMismatch, Problem
from pipeline.market.sources import Source, open_source
from pipeline.market.specification import SourceSpec, YahooSource
from pipeline.market.store.collection import Collection, read_history
from pipeline.market.store.stored import StoredPrices, rows_of_all
from pipeline.market.validation.report import EXCLUDED, validation_report
from pipeline.market.validation.validate import rows_or_error, terms_for, validate
from pipeline.settings import Settings
from pipeline.workflow.result import JsonObject
from pipeline.workflow.tickers import requested_tickers

DEFAULT_MIN_SESSIONS = Experiment().minimum_sessions
"""How many sessions a ticker needs: as many as a run with the default settings requires."""


@dataclass(frozen=True, eq=False)
class CheckedPrices:
    """The validation report on prices, and the calendars that they do not fit."""

    report: pd.DataFrame
    calendar_mismatches: tuple[CalendarMismatch, ...] = ()

    @property
    def status(self) -> str:
        """Return "ok", or "partial" where a ticker is excluded, or bars do not fit their calendar."""
        return "partial" if self.calendar_mismatches or (self.report["status"] == EXCLUDED).any() else "ok"


def mismatch_rows(mismatches: Iterable[CalendarMismatch]) -> list[JsonObject]:
    """Return calendar mismatches as plain JSON values, each with its sentence."""
    return [
        {
            "calendar": mismatch.calendar,
            "tickers": mismatch.tickers,
            "of_tickers": mismatch.of_tickers,
            "days": list(mismatch.days),
            "unused_sessions": list(mismatch.unused_sessions),
            "looks_like": mismatch.looks_like,
            "sentence": str(mismatch),
        }
        for mismatch in mismatches
    ]


def check_source(settings: Settings, source: SourceSpec, names: Sequence[str], now: datetime) -> CheckedPrices:
    """Return the validation report on a source's tickers (none named: all that it holds)."""
    opened = open_source(source, settings.prices)
    limit = age_limit(opened, getattr(source, "max_age_sessions", None))
    return source_report(opened, requested_tickers(opened, names), limit, now)


def check_collection(collection: Collection, names: Sequence[str], limit: int | None, now: datetime) -> CheckedPrices:
    """Return the validation report on stored tickers, whose last bar may be `limit` sessions old."""
    return source_report(StoredPrices(collection), names, limit, now)


def source_report(source: Source, names: Sequence[str], limit: int | None, now: datetime) -> CheckedPrices:
    """Return the validation report on a source's tickers, with the findings recorded when stored rows were fetched."""
    validated = validate(rows_by_ticker(source, names), terms_for(source, names, now, DEFAULT_MIN_SESSIONS, limit))
    report = validation_report(validated, recorded_problems(source, names))
    return CheckedPrices(report, validated.calendar_mismatches)


def is_updated_from_yahoo(source: Source) -> bool:
    """Return whether a source's prices are stored ones that are updated from Yahoo, and so expected to be recent."""
    return isinstance(source, StoredPrices) and source.collection.terms.kind == YahooSource().kind


def age_limit(source: Source, limit: int | None) -> int | None:
    """Return the maximum age of a last bar in sessions: as given, else Yahoo's where the source is updated there."""
    return YahooSource().max_age_sessions if limit is None and is_updated_from_yahoo(source) else limit


def rows_by_ticker(source: Source, names: Iterable[str]) -> dict[str, pd.DataFrame | SourceError]:
    """Return each ticker's rows, or the reason why there are none; stored ones are read several at a time."""
    if isinstance(source, StoredPrices):
        return rows_of_all(source, names)
    return {ticker: rows_or_error(source, ticker) for ticker in names}


def recorded_problems(source: Source, names: Iterable[str]) -> tuple[Problem, ...]:
    """Return the findings that were recorded when the rows of stored tickers were fetched, each once."""
    if not isinstance(source, StoredPrices):
        return ()
    return tuple(problem for ticker in names for problem in _problems_of(source.collection, ticker))


def _problems_of(collection: Collection, ticker: str) -> tuple[Problem, ...]:
    try:
        versions = read_history(collection, ticker).versions
    except SourceError:
        return ()
    return tuple(dict.fromkeys(problem for version in versions for problem in version.problems))
