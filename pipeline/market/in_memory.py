"""Prices in memory as a source of bars; the bundled sample is one: five US stocks, 2000 to 2013, public domain."""

import gzip
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from importlib.resources import files

import numpy as np
import pandas as pd

from pipeline.errors import SourceError
from pipeline.market.bars import Listing, ReturnsFrom
from pipeline.market.listings import listing_of, unknown_ticker
from pipeline.market.parsing import with_bars_columns
from pipeline.market.specification import PriceBasis


@dataclass(frozen=True, eq=False)
class InMemoryPrices:
    """A source with all its rows in memory: rows per ticker as delivered, and the reasons of unreadable tickers.

    `exchanges` are the calendars by ticker of those whose exchange is named and does not follow from the ticker's name.
    """

    frames: Mapping[str, pd.DataFrame]
    price_basis: PriceBasis
    has_actions: bool
    returns_from: ReturnsFrom
    note: str
    refused: Mapping[str, str] = field(default_factory=dict)
    exchanges: Mapping[str, str] = field(default_factory=dict)

    def tickers(self) -> tuple[str, ...]:
        """Return all tickers of the source, readable or not, sorted."""
        return tuple(sorted({*self.frames, *self.refused}))

    def rows(self, ticker: str) -> pd.DataFrame:
        """Return the ticker's rows as delivered; raises SourceError where there are none."""
        if ticker in self.refused:
            raise SourceError(self.refused[ticker])
        if ticker not in self.frames:
            raise unknown_ticker(ticker, self.tickers())
        return self.frames[ticker]

    def listings(self, tickers: Iterable[str]) -> dict[str, Listing]:
        """Return the listings of those tickers whose exchange is named."""
        return {ticker: listing_of(ticker, self.exchanges[ticker]) for ticker in tickers if ticker in self.exchanges}


def by_ticker(frame: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Return a long frame as one frame per ticker, sorted by ticker, rows in the order delivered."""
    codes, names = pd.factorize(frame["ticker"], use_na_sentinel=False)
    order = np.argsort(codes, kind="stable")
    rows = frame.drop(columns="ticker").iloc[order]
    ends = np.cumsum(np.bincount(codes, minlength=len(names)))
    begins = [0, *ends[:-1]]
    frames = {_text(name): rows.iloc[begin:end] for name, begin, end in zip(names, begins, ends, strict=True)}
    return dict(sorted(frames.items()))


def _text(name: object) -> str:
    return "" if pd.isna(name) else str(name)  # type: ignore[call-overload]


SAMPLE_FILE = "stocks_wiki_2000_2013.csv.gz"
SAMPLE_NOTE = "Bundled sample prices (public domain) end on 2013-03-01; nothing here is about today."


def open_sample() -> InMemoryPrices:
    """Return the bundled prices as a source: as traded, with an adjusted close, without actions."""
    packed = files("pipeline.market").joinpath("data", SAMPLE_FILE)
    with packed.open("rb") as stream, gzip.open(stream) as unpacked:
        frame = with_bars_columns(pd.read_csv(unpacked))
    return InMemoryPrices(by_ticker(frame), "as_traded", has_actions=False, returns_from="adj_close", note=SAMPLE_NOTE)
