"""What a source of bars is, and how one is opened from its description."""

from pathlib import Path
from typing import Protocol

import pandas as pd

from pipeline.market.bars import ReturnsFrom
from pipeline.market.specification import (
    FilesSource,
    PriceBasis,
    SampleSource,
    SourceSpec,
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
    def remote(self) -> bool:
        """Whether the rows come over the network, so that trying again may help."""

    @property
    def note(self) -> str:
        """A sentence for people about these prices."""

    def tickers(self) -> tuple[str, ...]:
        """All tickers that the source holds; none where they have to be named."""

    def rows(self, ticker: str) -> pd.DataFrame:
        """The ticker's rows as found, columns named as in COLUMNS; a SourceError where they cannot be had."""


def open_source(spec: SourceSpec, cache_dir: Path | None = None) -> Source:
    """The described source, opened; a remote one keeps its own cache under cache_dir."""
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
            from pipeline.market.yahoo import YahooPrices  # noqa: PLC0415  brings yfinance: a second of imports

            return YahooPrices(spec.start, cache_dir=cache_dir)
