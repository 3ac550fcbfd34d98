"""What a source of bars is, and how one is opened from its description."""

from collections.abc import Iterable
from pathlib import Path
from typing import Protocol

import pandas as pd

from pipeline.errors import TapecastError
from pipeline.market.bars import ReturnsFrom
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
    """Where bars come from: rows ticker by ticker as found, and what their prices mean."""

    @property
    def price_basis(self) -> PriceBasis:
        """The basis of the prices handed over, after any conversion."""

    @property
    def has_actions(self) -> bool:
        """Whether dividends and splits are delivered."""

    @property
    def returns_from(self) -> ReturnsFrom:
        """Which columns the daily total return is computed from."""

    @property
    def note(self) -> str:
        """A sentence for people about these prices."""

    def tickers(self) -> tuple[str, ...]:
        """All tickers that the source holds; none where they have to be named."""

    def rows(self, ticker: str) -> pd.DataFrame:
        """The ticker's rows as found, columns named as in COLUMNS; a SourceError where they cannot be had."""

    def currencies(self, tickers: Iterable[str]) -> dict[str, str]:
        """The currency of those tickers for which the source knows it."""


def open_source(spec: SourceSpec, prices: Path | None = None) -> Source:
    """The described source, opened; Yahoo's prices and stored ones are read from the store in the folder `prices`.

    Raises UsageError where there is no such file or collection.
    """
    match spec:
        case SampleSource():
            from pipeline.market.sample import open_sample  # noqa: PLC0415  pandas' reader and the file, when asked for

            return open_sample()
        case FilesSource():
            from pipeline.market.files import open_files  # noqa: PLC0415  brings pyarrow

            return open_files(spec.path, spec.price_basis)
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
