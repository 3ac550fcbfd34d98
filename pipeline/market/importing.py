"""Importing files into the store: each ticker's rows become a version of its whole history."""

from collections.abc import Iterator, Sequence
from datetime import datetime

from pipeline.errors import SourceError, TapecastError
from pipeline.market.calendars import listing_of
from pipeline.market.canonical import canonical
from pipeline.market.fetched import Fetched
from pipeline.market.held import HeldPrices
from pipeline.market.store.collection import Collection, CollectionTerms
from pipeline.market.store.commits import commit_all, set_aside
from pipeline.market.store.history import Version
from pipeline.market.tickers import is_ticker
from pipeline.market.update import Refreshed, State, as_it_was, completed

NO_ACTION = {"dividend": 0.0, "split": 1.0}


def terms_of(prices: HeldPrices) -> CollectionTerms:
    """The terms of a collection that holds the files' prices."""
    return CollectionTerms(
        kind="files",
        has_actions=prices.has_actions,
        returns_from=prices.returns_from,
        note="Imported prices, as the files told them; nothing says that they are up to date.",
        price_basis=prices.price_basis,
    )


def import_prices(
    collection: Collection, prices: HeldPrices, tickers: Sequence[str], now: datetime
) -> Iterator[Refreshed]:
    """Store the rows of files and yield each ticker as it then stands."""
    answers = ((ticker, _answer(prices, ticker, now)) for ticker in tickers)
    for ticker in filter(is_ticker, tickers):
        set_aside(collection, ticker)  # damaged files alone
    for ticker, version in commit_all(collection, answers):
        if isinstance(version, SourceError):
            yield as_it_was(collection, ticker, str(version), now)
        else:
            yield _imported(ticker, version)


def _imported(ticker: str, version: Version) -> Refreshed:
    kinds = ", ".join(dict.fromkeys(one.kind for one in version.restatements))
    state = State.RESTATED if kinds else State.UPDATED
    return Refreshed(ticker, state, version.last_session, None, version.added, kinds)


def _answer(prices: HeldPrices, ticker: str, now: datetime) -> Fetched | SourceError:
    """The ticker's rows in the form that the store keeps, or the reason why there are none."""
    try:
        brought = canonical(ticker, prices.rows(ticker))
        if brought.frame.empty or any(problem.fatal for problem in brought.problems):
            raise SourceError("; ".join(map(str, brought.problems)) or "found no row of it, expected daily prices")
        spelled = {name: none for name, none in NO_ACTION.items() if name not in brought.frame}
        rows = brought.frame.assign(**spelled)
        # a file speaks of what it holds: earlier sessions that are stored stay, so that newer files can be appended
        since = rows["session"].iloc[0].date()
        fetched = Fetched(rows, since, listing_of(ticker).currency, now, brought.problems)
        return completed(ticker, fetched)
    except SourceError as error:
        return error
    except TapecastError as error:
        return SourceError(str(error))
