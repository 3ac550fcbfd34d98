"""Protocols of local and remote sources of bars, and opening a source from its specification."""

from collections.abc import Iterable, Iterator, Mapping
from datetime import date
from pathlib import Path
from typing import Protocol

import pandas as pd

from pipeline.errors import SourceError, TapecastError
from pipeline.market.bars import FetchedRows, Listing, ReturnsFrom
from pipeline.market.specification import (
    YAHOO,
    FilesSource,
    PriceBasis,
    SampleSource,
    SourceSpec,
    StoredSource,
    SyntheticSource,
    YahooSource,
)


class Source(Protocol):
    """A source of bars: rows ticker by ticker as delivered, and what their prices mean."""

    @property
    def price_basis(self) -> PriceBasis:
        """The basis of the prices that `rows` returns, after any conversion."""

    @property
    def has_actions(self) -> bool:
        """Whether dividends and splits are delivered."""

    @property
    def returns_from(self) -> ReturnsFrom:
        """Which columns the daily total return is computed from."""

    @property
    def note(self) -> str:
        """A sentence about these prices for pages and terminals."""

    def tickers(self) -> tuple[str, ...]:
        """Return all tickers of the source; none where they have to be named."""

    def rows(self, ticker: str) -> pd.DataFrame:
        """Return the ticker's rows as delivered, columns named as in COLUMNS; raises SourceError for none."""

    def listings(self, tickers: Iterable[str]) -> dict[str, Listing]:
        """Return the listings of those tickers for which the source knows exchange or currency."""


def open_source(spec: SourceSpec, prices: Path | None = None) -> Source:
    """Return the opened source; Yahoo's prices and stored ones are read from the store in the folder `prices`.

    Raises UsageError where there is no such file or collection.
    """
    match spec:
        case SampleSource():
            from pipeline.market.in_memory import open_sample  # noqa: PLC0415  imported when needed

            return open_sample()
        case FilesSource():
            from pipeline.market.files import open_files  # noqa: PLC0415  brings pyarrow

            return open_files(spec.path, spec.price_basis, spec.exchange)
        case SyntheticSource():
            from pipeline.market.synthetic import open_synthetic  # noqa: PLC0415

            return open_synthetic(spec)
        case YahooSource():
            return _open_stored(prices, StoredSource(collection=YAHOO, start=spec.start))
        case StoredSource():
            return _open_stored(prices, spec)


def _open_stored(prices: Path | None, spec: StoredSource) -> Source:
    if prices is None:
        raise TapecastError(f"found no folder of the price store, expected one to read {spec.collection} from")
    from pipeline.market.store.stored import open_stored  # noqa: PLC0415  brings pyarrow

    return open_stored(prices, spec)


class RemoteSource(Protocol):
    """A source over the network."""

    def fetch(self, first_days: Mapping[str, date | None]) -> Iterator[tuple[str, FetchedRows | SourceError]]:
        """Yield each ticker with its answer, or as a value the error, in the order of arrival.

        `first_days` are the first days to fetch per ticker; None: the whole history.
        """
