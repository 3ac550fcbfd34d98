"""A source that holds all its rows in memory: the sample, files and synthetic prices."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np
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
    codes, names = pd.factorize(frame["ticker"], use_na_sentinel=False)
    order = np.argsort(codes, kind="stable")
    rows = frame.drop(columns="ticker").iloc[order]
    ends = np.cumsum(np.bincount(codes, minlength=len(names)))
    begins = [0, *ends[:-1]]
    found = {_text(name): rows.iloc[begin:end] for name, begin, end in zip(names, begins, ends, strict=True)}
    return dict(sorted(found.items()))


def _text(name: object) -> str:
    return "" if pd.isna(name) else str(name)  # type: ignore[call-overload]
