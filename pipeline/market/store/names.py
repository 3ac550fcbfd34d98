"""File names of tickers: one to one on every file system, those that ignore case too, and never outside the folder."""

import re
from urllib.parse import unquote

from pipeline.market.tickers import is_ticker, refuse_bad_name

SUFFIX = ".parquet"
_OTHER_THAN_PLAIN = re.compile(r"[^A-Z0-9.\-=&_^]")
_DEVICE = re.compile(r"(CON|PRN|AUX|NUL|COM[1-9]|LPT[1-9])(\..*)?")
"""Names that Windows reserves for devices, whatever follows a dot."""


def file_name(ticker: str) -> str:
    """The name of the ticker's file; raises SourceError for a string that cannot be a ticker.

    Lower case letters are percent-encoded as well: AAPL and aapl must not be one file where case is ignored.
    """
    refuse_bad_name(ticker)
    encoded = _OTHER_THAN_PLAIN.sub(lambda letter: _percent(letter[0]), ticker)
    return (_percent(encoded[0]) + encoded[1:] if _DEVICE.fullmatch(encoded) else encoded) + SUFFIX


def ticker_of(name: str) -> str | None:
    """The ticker whose file has this name; None for the name of anything else."""
    ticker = unquote(name.removesuffix(SUFFIX))
    return ticker if is_ticker(ticker) and file_name(ticker) == name else None


def _percent(letter: str) -> str:
    return f"%{ord(letter):02X}"
