"""Ticker names: which strings may be one, and what to say when none is found."""

import re
from collections.abc import Collection, Iterable
from difflib import get_close_matches

from pipeline.errors import SourceError

LONGEST = 32
_NAME = re.compile(rf"[A-Za-z0-9^][A-Za-z0-9.\-=&_]{{0,{LONGEST - 1}}}")

EXPECTED_NAME = f"1 to {LONGEST} letters, digits and . - = & _ (a first ^ too), as in BRK-B, ^GSPC or M&M.NS"


def is_ticker(name: str) -> bool:
    """Whether the string may name a ticker: nothing that could be a path, markup or a terminal command."""
    return _NAME.fullmatch(name) is not None


def printable(name: str) -> str:
    """The name as it can be shown on one line anywhere: control characters replaced, cut to a bearable length."""
    shown = "".join(letter if letter.isprintable() else "?" for letter in name)
    return shown if len(shown) <= LONGEST else shown[:LONGEST] + "…"


def refuse_bad_name(name: str) -> None:
    """Nothing for a proper name; a SourceError for any other, so that it reaches neither a path nor a URL."""
    if not is_ticker(name):
        raise SourceError(f"found {printable(name)!r} as a ticker, expected {EXPECTED_NAME}")


def unknown_ticker(ticker: str, held: Collection[str]) -> SourceError:
    """The error that says which tickers there are, and which of them was perhaps meant."""
    close = _closest(ticker, held)
    hint = f"; did you mean {close}?" if close else ""
    return SourceError(f"unknown ticker {printable(ticker)!r}: the source holds {shortened(sorted(held))}{hint}")


def shortened(names: Iterable[str], most: int = 12) -> str:
    """The first names as a comma-separated list, and how many more there are."""
    shown = [printable(name) for name in names]
    more = f" and {len(shown) - most} more" if len(shown) > most else ""
    return (", ".join(shown[:most]) or "none") + more


def _closest(ticker: str, held: Collection[str]) -> str | None:
    spelled = {name.upper(): name for name in held}
    found = get_close_matches(ticker.upper(), spelled, n=1, cutoff=0.5)
    return spelled[found[0]] if found else None
