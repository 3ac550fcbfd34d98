"""Import of files into the price store: each ticker's rows become a version of its history."""

from collections.abc import Iterator, Sequence
from datetime import datetime

from pipeline.errors import SourceError, TapecastError
from pipeline.market.bars import FetchedRows
from pipeline.market.calendars import listing_of
from pipeline.market.in_memory import InMemoryPrices
from pipeline.market.listings import is_ticker
from pipeline.market.store.collection import Collection, CollectionTerms, facts
from pipeline.market.store.commits import commit_all, quarantine_file
from pipeline.market.store.history import Version
from pipeline.market.update import UpdateResult, UpdateState, completed_rows, not_updated
from pipeline.market.validation.normalisation import normalise

NO_ACTION = {"dividend": 0.0, "split": 1.0}


def terms_of(prices: InMemoryPrices) -> CollectionTerms:
    """Return the terms of a collection that holds the files' prices."""
    return CollectionTerms(
        kind="files",
        has_actions=prices.has_actions,
        returns_from=prices.returns_from,
        note="Imported prices, as delivered in the files; they may not be up to date.",
        price_basis=prices.price_basis,
    )


def import_prices(
    collection: Collection, prices: InMemoryPrices, tickers: Sequence[str], now: datetime
) -> Iterator[UpdateResult]:
    """Store the rows of files and yield the result of each ticker."""
    answers = ((ticker, _answer(collection, prices, ticker, now)) for ticker in tickers)
    for ticker in filter(is_ticker, tickers):
        quarantine_file(collection, ticker)  # damaged files only
    for ticker, version in commit_all(collection, answers):
        if isinstance(version, SourceError):
            yield not_updated(collection, ticker, str(version), now)
        else:
            yield _imported(ticker, version)


def _imported(ticker: str, version: Version) -> UpdateResult:
    kinds = ", ".join(dict.fromkeys(it.kind for it in version.restatements))
    state = UpdateState.RESTATED if kinds else UpdateState.UPDATED
    return UpdateResult(ticker, state, version.last_session, None, version.added, kinds)


def _stored_exchange(collection: Collection, ticker: str) -> str | None:
    """Return the exchange that an earlier file named for the ticker."""
    known = facts(collection, ticker)
    return known.exchange if known else None


def _answer(collection: Collection, prices: InMemoryPrices, ticker: str, now: datetime) -> FetchedRows | SourceError:
    """Return the ticker's rows in the form of the store, or as a value the error that says why there are none.

    The exchange is the one that the file names, else the one that an earlier file named.
    """
    try:
        normalised = normalise(ticker, prices.rows(ticker))
        if normalised.frame.empty or any(problem.fatal for problem in normalised.problems):
            raise SourceError("; ".join(map(str, normalised.problems)) or "found no row of it, expected daily prices")
        absent = {name: none for name, none in NO_ACTION.items() if name not in normalised.frame}
        rows = normalised.frame.assign(**absent)
        # a file says nothing about earlier sessions: those that are stored stay, so that newer files can be appended
        since = rows["session"].iloc[0].date()
        exchange = prices.exchanges.get(ticker) or _stored_exchange(collection, ticker)
        currency = listing_of(ticker, exchange).currency
        return completed_rows(ticker, FetchedRows(rows, since, currency, now, normalised.problems, exchange))
    except SourceError as error:
        return error
    except TapecastError as error:
        return SourceError(str(error))
