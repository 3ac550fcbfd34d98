"""Holding prices against the data contract: the verdicts on what is stored, or on files before they are imported."""

from collections.abc import Iterable, Sequence
from datetime import datetime

import pandas as pd

from pipeline.errors import SourceError, UsageError
from pipeline.experiment import Experiment
from pipeline.market.bars import Problem
from pipeline.market.door import Terms, admit, rows_or_error
from pipeline.market.source import Source, open_source
from pipeline.market.specification import SourceSpec, YahooSource
from pipeline.market.store.collection import Collection, read_history
from pipeline.market.store.stored import StoredPrices, rows_of_all
from pipeline.market.verdicts import verdicts
from pipeline.settings import Settings

USUAL_SESSIONS = Experiment().minimum_sessions
"""How many sessions a ticker needs: as many as a run with the usual settings wants."""


def check_source(settings: Settings, source: SourceSpec, names: Sequence[str], now: datetime) -> pd.DataFrame:
    """Return the verdicts on a source's tickers (none named: all that it holds)."""
    opened = open_source(source, settings.prices)
    limit = age_limit(opened, getattr(source, "most_age_sessions", None))
    return verdicts_on(opened, wanted_of(opened, names), limit, now)


def check_collection(collection: Collection, names: Sequence[str], most_age: int | None, now: datetime) -> pd.DataFrame:
    """Return the verdicts on stored tickers."""
    return verdicts_on(StoredPrices(collection), names, most_age, now)


def claims_to_be_fresh(source: Source) -> bool:
    """Return whether a source's prices are stored ones that Yahoo keeps up to date; files and the like never are."""
    return isinstance(source, StoredPrices) and source.collection.terms.kind == YahooSource().kind


def age_limit(source: Source, given: int | None) -> int | None:
    """Return how old a last bar may be: as given, or as for Yahoo where that is what is stored."""
    return YahooSource().most_age_sessions if given is None and claims_to_be_fresh(source) else given


def wanted_of(source: Source, names: Sequence[str]) -> tuple[str, ...]:
    """Return the tickers named, or else all that the source holds; raises UsageError where that is none."""
    wanted = tuple(names) or source.tickers()
    if not wanted:
        raise UsageError("found no tickers there; fetch some with `tapecast data update --tickers AAPL,MSFT`")
    return wanted


def verdicts_on(source: Source, names: Sequence[str], most_age_sessions: int | None, now: datetime) -> pd.DataFrame:
    """Return the verdicts on a source's tickers, with what was recorded when stored ones were fetched."""
    terms = door_terms(source, now, most_age_sessions=most_age_sessions)
    return verdicts(admit(found_rows(source, names), terms), recorded(source, names))


def door_terms(
    source: Source, now: datetime, minimum_sessions: int = USUAL_SESSIONS, most_age_sessions: int | None = None
) -> Terms:
    """Return what the door has to know of a source."""
    return Terms(source.returns_from, source.has_actions, now, minimum_sessions, most_age_sessions)


def found_rows(source: Source, names: Iterable[str]) -> dict[str, pd.DataFrame | SourceError]:
    """Return each ticker's rows or the reason why there are none; stored ones are read several at a time."""
    if isinstance(source, StoredPrices):
        return rows_of_all(source, names)
    return {ticker: rows_or_error(source, ticker) for ticker in names}


def recorded(source: Source, names: Iterable[str]) -> tuple[Problem, ...]:
    """Return the findings that were made when the rows of stored tickers were fetched, each once."""
    if not isinstance(source, StoredPrices):
        return ()
    return tuple(problem for ticker in names for problem in _recorded_of(source.collection, ticker))


def _recorded_of(collection: Collection, ticker: str) -> tuple[Problem, ...]:
    try:
        versions = read_history(collection, ticker).versions
    except SourceError:
        return ()
    return tuple(dict.fromkeys(problem for version in versions for problem in version.problems))
