"""A collection of the store as a source of bars, as they are now or as they were known at some time."""

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path

import pandas as pd

from pipeline.errors import SourceError
from pipeline.market.bars import ReturnsFrom
from pipeline.market.specification import PriceBasis, StoredSource
from pipeline.market.store.collection import Collection, facts, read_history, read_opened, tickers
from pipeline.market.store.history import as_known, current_rows_of, version_at
from pipeline.market.store.opening import find_collection

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
        """A sentence for people about these prices."""
        known = f" As known on {self.at:%Y-%m-%d %H:%M %Z}." if self.at else ""
        return self.collection.terms.note + known

    def tickers(self) -> tuple[str, ...]:
        """All tickers that the collection holds, sorted."""
        return tickers(self.collection)

    def rows(self, ticker: str) -> pd.DataFrame:
        """The ticker's rows as plain_rows, verified; a SourceError where there are none or they are damaged."""
        rows = self._known(ticker)
        return rows if self.start is None else rows[rows["session"] >= pd.Timestamp(self.start)].reset_index(drop=True)

    def currencies(self, names: Iterable[str]) -> dict[str, str]:
        """The currency in which each ticker's prices were told, without those that cannot be read."""
        found = {ticker: self._currency(ticker) for ticker in names}
        return {ticker: currency for ticker, currency in found.items() if currency is not None}

    def _known(self, ticker: str) -> pd.DataFrame:
        if self.at is None:
            return current_rows(self.collection, ticker)
        return as_known(read_history(self.collection, ticker), self.at)

    def _currency(self, ticker: str) -> str | None:
        try:
            if self.at is not None:
                return version_at(read_history(self.collection, ticker), self.at).currency
            found = facts(self.collection, ticker)
        except SourceError:  # rows tells of it
            return None
        return found.currency if found else None


def open_stored(root: Path, spec: StoredSource) -> StoredPrices:
    """The described prices of the store under `root`; raises UsageError where there is no such collection."""
    return StoredPrices(find_collection(root, spec.collection), spec.as_known, spec.start)


def current_rows(collection: Collection, ticker: str) -> pd.DataFrame:
    """The ticker's current rows as plain_rows, verified; raises SourceError where there are none or are damaged."""
    return current_rows_of(read_opened(collection, ticker).columns)


def rows_of_all(prices: StoredPrices, names: Iterable[str]) -> dict[str, pd.DataFrame | SourceError]:
    """The rows of many tickers, several read at a time; as a value the error where a ticker's cannot be had."""
    wanted = tuple(dict.fromkeys(names))
    with ThreadPoolExecutor(READERS) as pool:
        return dict(zip(wanted, pool.map(lambda ticker: _rows_or_error(prices, ticker), wanted), strict=True))


def _rows_or_error(prices: StoredPrices, ticker: str) -> pd.DataFrame | SourceError:
    try:
        return prices.rows(ticker)
    except SourceError as error:
        return error
