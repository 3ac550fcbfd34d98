"""A source that holds all its rows in memory: the sample, files and synthetic prices."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import pandas as pd

from pipeline.errors import SourceError
from pipeline.market.bars import ReturnsFrom
from pipeline.market.specification import PriceBasis
from pipeline.market.tickers import unknown_ticker


@dataclass(frozen=True, eq=False)
class HeldPrices:
    """Rows per ticker as found, and for the tickers that could not be read the reason."""

    frames: Mapping[str, pd.DataFrame]
    price_basis: PriceBasis
    has_actions: bool
    returns_from: ReturnsFrom
    note: str
    refused: Mapping[str, str] = field(default_factory=dict)

    def tickers(self) -> tuple[str, ...]:
        """All tickers that the source holds, readable or not, sorted."""
        return tuple(sorted({*self.frames, *self.refused}))

    def rows(self, ticker: str) -> pd.DataFrame:
        """The ticker's rows as found; a SourceError where there are none."""
        if ticker in self.refused:
            raise SourceError(self.refused[ticker])
        if ticker not in self.frames:
            raise unknown_ticker(ticker, self.tickers())
        return self.frames[ticker]

    def currencies(self, tickers: Iterable[str]) -> dict[str, str]:  # noqa: ARG002  the protocol's argument
        """None: these prices come without a currency."""
        return {}


def by_ticker(frame: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """A long frame as one frame per ticker, rows in the order found."""
    names = frame["ticker"].astype(object).where(frame["ticker"].notna(), "").astype(str)
    return {str(name): rows.drop(columns="ticker") for name, rows in frame.groupby(names.to_numpy(), sort=True)}
