"""A collection of the price store as a source of bars, as they are now or as they were known at an instant."""

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import date, datetime
from pathlib import Path

import pandas as pd

from pipeline.errors import SourceError, TapecastError
from pipeline.market.bars import Listing, ReturnsFrom
from pipeline.market.listings import listing_of
from pipeline.market.specification import PriceBasis, StoredSource
from pipeline.market.store.collection import (
    Collection,
    facts,
    find_collection,
    path_of,
    read_history,
    read_opened,
    tickers,
)
from pipeline.market.store.history import Facts, Version, as_known, current_rows_of, version_at
from pipeline.market.store.layout import read_versions
from pipeline.market.store.restatement import Restatement

READERS = 2


@dataclass(frozen=True)
class StoredPrices:
    """The rows of a collection: current ones, or as known `at` an instant; those from `start` on, or all."""

    collection: Collection
    at: datetime | None = None
    start: date | None = None

    @property
    def price_basis(self) -> PriceBasis:
        """The basis of the stored prices."""
        return self.collection.terms.price_basis

    @property
    def has_actions(self) -> bool:
        """Whether the stored source delivers dividends and splits."""
        return self.collection.terms.has_actions

    @property
    def returns_from(self) -> ReturnsFrom:
        """Which columns the daily total return is computed from."""
        return self.collection.terms.returns_from

    @property
    def note(self) -> str:
        """A sentence about these prices for pages and terminals."""
        known = f" As known on {self.at:%Y-%m-%d %H:%M %Z}." if self.at else ""
        return self.collection.terms.note + known

    def tickers(self) -> tuple[str, ...]:
        """Return all tickers of the collection, sorted."""
        return tickers(self.collection)

    def rows(self, ticker: str) -> pd.DataFrame:
        """Return the ticker's rows as plain_rows does, verified; raises SourceError for none or damaged ones."""
        rows = self._known(ticker)
        return rows if self.start is None else rows[rows["session"] >= pd.Timestamp(self.start)].reset_index(drop=True)

    def listings(self, names: Iterable[str]) -> dict[str, Listing]:
        """Return the listing of each ticker with the currency of its prices, without those that cannot be read."""
        listings = {ticker: self._listing(ticker) for ticker in names}
        return {ticker: listing for ticker, listing in listings.items() if listing is not None}

    def restatements(self, ticker: str, after: datetime | None = None) -> tuple[Restatement, ...]:
        """Return in what the ticker's source restated it after an instant (aware; None: ever), oldest first.

        Whichever update found it, and none where versions were pruned. Raises SourceError for none or a damaged file.
        """
        path = path_of(self.collection, ticker)
        try:
            versions = read_versions(path, ticker)
        except OSError as error:
            raise SourceError(f"cannot read {path}: {error}; check the file and its permissions") from error
        later = [it for it in versions if after is None or it.known_at > after]
        known = [it for it in later if self.at is None or it.known_at <= self.at]
        return tuple(restatement for version in known for restatement in version.restatements)

    def _known(self, ticker: str) -> pd.DataFrame:
        if self.at is None:
            return current_rows(self.collection, ticker)
        return as_known(read_history(self.collection, ticker), self.at)

    def _listing(self, ticker: str) -> Listing | None:
        try:
            stored = self._stored(ticker)
            return replace(listing_of(ticker, stored.exchange), currency=stored.currency) if stored else None
        except TapecastError:  # `rows` or the validation reports it
            return None

    def _stored(self, ticker: str) -> Version | Facts | None:
        """Return what is stored of the ticker other than its rows, as known at the instant."""
        if self.at is None:
            return facts(self.collection, ticker)
        return version_at(read_history(self.collection, ticker), self.at)


def open_stored(root: Path, spec: StoredSource) -> StoredPrices:
    """Return the specified prices of the store under `root`; raises UsageError where there is no such collection."""
    return StoredPrices(find_collection(root, spec.collection), spec.as_known, spec.start)


def current_rows(collection: Collection, ticker: str) -> pd.DataFrame:
    """Return the ticker's current rows as plain_rows does, verified; raises SourceError for none or damaged ones."""
    return current_rows_of(read_opened(collection, ticker).columns)


def rows_of_all(prices: StoredPrices, names: Iterable[str]) -> dict[str, pd.DataFrame | SourceError]:
    """Return the rows of many tickers, several read at a time; as a value the error where a ticker has none."""
    wanted = tuple(dict.fromkeys(names))
    with ThreadPoolExecutor(READERS) as pool:
        return dict(zip(wanted, pool.map(lambda ticker: _rows_or_error(prices, ticker), wanted), strict=True))


def _rows_or_error(prices: StoredPrices, ticker: str) -> pd.DataFrame | SourceError:
    try:
        return prices.rows(ticker)
    except SourceError as error:
        return error
