"""The bundled sample: real prices of five US stocks from 2000 to 2013, in the public domain."""

import gzip
from importlib.resources import files

import pandas as pd

from pipeline.market.columns import renamed
from pipeline.market.held import HeldPrices, by_ticker

FILE = "stocks_wiki_2000_2013.csv.gz"
NOTE = "Bundled sample prices (public domain) end on 2013-03-01; nothing here is about today."


def open_sample() -> HeldPrices:
    """The bundled prices as a source: as traded, with an adjusted close, without actions."""
    packed = files("pipeline.market").joinpath("data", FILE)
    with packed.open("rb") as stream, gzip.open(stream) as unpacked:
        frame = renamed(pd.read_csv(unpacked))
    return HeldPrices(by_ticker(frame), "as_traded", has_actions=False, returns_from="adj_close", note=NOTE)
