"""Ticker names as Yahoo spells them, and their listings: the calendar and currency that a name stands for."""

import re
from collections.abc import Collection, Iterable
from difflib import get_close_matches

from pipeline.errors import SourceError
from pipeline.market.bars import Listing
from pipeline.market.exchanges import CURRENCIES, EXCHANGES, QUOTED_IN, US, calendar_named

MAX_LENGTH = 32
_NAME = re.compile(rf"[A-Za-z0-9^][A-Za-z0-9.\-=&_]{{0,{MAX_LENGTH - 1}}}")
EXPECTED_NAME = f"1 to {MAX_LENGTH} letters, digits and . - = & _ (a first ^ too), as in BRK-B, ^GSPC or M&M.NS"


def is_ticker(name: str) -> bool:
    """Return whether the string may name a ticker; a path, markup or a terminal command never does."""
    return _NAME.fullmatch(name) is not None


def printable(name: str) -> str:
    """Return the name fit for one line of any output: control characters replaced, cut to MAX_LENGTH."""
    shown = "".join(letter if letter.isprintable() else "?" for letter in name)
    return shown if len(shown) <= MAX_LENGTH else shown[:MAX_LENGTH] + "…"


def refuse_bad_name(name: str) -> None:
    """Raise SourceError for a string that cannot name a ticker, so that it reaches neither a path nor a URL."""
    if not is_ticker(name):
        raise SourceError(f"found {printable(name)!r} as a ticker, expected {EXPECTED_NAME}")


def unknown_ticker(ticker: str, known: Collection[str]) -> SourceError:
    """Return the error for a ticker that a source does not have: the known ones, and the closest of them."""
    close = _closest(ticker, known)
    hint = f"; did you mean {close}?" if close else ""
    return SourceError(f"unknown ticker {printable(ticker)!r}: the source holds {shortened(sorted(known))}{hint}")


def shortened(names: Iterable[str], max_shown: int = 12) -> str:
    """Return the first names as a comma-separated list, and the number of the others."""
    shown = [printable(name) for name in names]
    more = f" and {len(shown) - max_shown} more" if len(shown) > max_shown else ""
    return (", ".join(shown[:max_shown]) or "none") + more


def _closest(ticker: str, known: Collection[str]) -> str | None:
    by_upper_case = {name.upper(): name for name in known}
    matches = get_close_matches(ticker.upper(), by_upper_case, n=1, cutoff=0.5)
    return by_upper_case[matches[0]] if matches else None


INDICES = {
    **dict.fromkeys(("GSPC", "SPX", "OEX", "MID", "SP400", "SP600", "SP500TR", "DJI", "DJT", "DJU", "DJA"), US),
    **dict.fromkeys(("IXIC", "NDX", "NYA", "XAX", "RUT", "RUA", "RUI", "W5000", "SOX", "BKX", "XAU", "HUI"), US),
    **dict.fromkeys(("VIX", "VIX3M", "VXN", "VVIX", "OVX", "GVZ", "SKEW", "IRX", "FVX", "TNX", "TYX"), US),
    "AEX": ("XAMS", "EUR"),
    "AORD": ("XASX", "AUD"),
    "ATX": ("XWBO", "EUR"),
    "AXJO": ("XASX", "AUD"),
    "BFX": ("XBRU", "EUR"),
    "BSESN": ("XBOM", "INR"),
    "BVSP": ("BVMF", "BRL"),
    "CNXIT": ("XBOM", "INR"),
    "FCHI": ("XPAR", "EUR"),
    "FTAS": ("XLON", "GBP"),
    "FTMC": ("XLON", "GBP"),
    "FTSE": ("XLON", "GBP"),
    "GDAXI": ("XETR", "EUR"),
    "GSPTSE": ("XTSE", "CAD"),
    "HSCE": ("XHKG", "HKD"),
    "HSI": ("XHKG", "HKD"),
    "IBEX": ("XMAD", "EUR"),
    "INDIAVIX": ("XBOM", "INR"),
    "ISEQ": ("XDUB", "EUR"),
    "JKSE": ("XIDX", "IDR"),
    "KLSE": ("XKLS", "MYR"),
    "KQ11": ("XKRX", "KRW"),
    "KS11": ("XKRX", "KRW"),
    "KS200": ("XKRX", "KRW"),
    "MDAXI": ("XETR", "EUR"),
    "MERV": ("XBUE", "ARS"),
    "MXX": ("XMEX", "MXN"),
    "N100": ("XPAR", "EUR"),
    "N225": ("XTKS", "JPY"),
    "NSEBANK": ("XBOM", "INR"),
    "NSEI": ("XBOM", "INR"),
    "NZ50": ("XNZE", "NZD"),
    "OMX": ("XSTO", "SEK"),
    "OMXC25": ("XCSE", "DKK"),
    "OMXH25": ("XHEL", "EUR"),
    "OSEAX": ("XOSL", "NOK"),
    "SDAXI": ("XETR", "EUR"),
    "SSMI": ("XSWX", "CHF"),
    "STI": ("XSES", "SGD"),
    "STOXX": ("XETR", "EUR"),
    "STOXX50E": ("XETR", "EUR"),
    "TECDAX": ("XETR", "EUR"),
    "TWII": ("XTAI", "TWD"),
}
"""Calendar and currency of indices by the name after ^; those of several countries by the exchange that runs them."""

_CURRENCIES = re.compile(r"(?:[A-Z]{3})?([A-Z]{3})=X")
_FUTURE = re.compile(r"[A-Z0-9]+=F")
_SUFFIX = re.compile(r".*(\.[A-Z]{2,})")


def listing_of(ticker: str, exchange: str | None = None) -> Listing:
    """Return the ticker's listing: calendar and currency of the exchange named, or else of that its name stands for.

    A name without a suffix is a US one, and so is one with a single letter for a class of shares (BRK.B). Raises
    SourceError for any other suffix and for an index that is not known here, as its sessions would be dated wrongly,
    and for an exchange other than that of the name; UsageError for one that is not known.
    """
    stated = _stated(ticker.upper())
    if exchange is None:
        return Listing(ticker, *(stated or _assumed(ticker.upper())))
    calendar = calendar_named(exchange)
    if stated and stated[0] != calendar:
        raise SourceError(
            f"found the exchange {calendar} for {ticker}, whose name stands for {stated[0]}, expected the same; "
            "correct the exchange, or write the ticker as on that exchange"
        )
    return Listing(ticker, *(stated or (calendar, CURRENCIES[calendar])))


def calendar_of(ticker: str) -> str:
    """Return the calendar code of the ticker's exchange; raises SourceError as listing_of does."""
    return listing_of(ticker).calendar


def states_exchange(ticker: str) -> bool:
    """Return whether the name itself says on which exchange the ticker trades, as INFY.NS, ^N225 and BTC-USD do."""
    return _stated(ticker.upper()) is not None


def _stated(name: str) -> tuple[str, str] | None:
    """Return calendar and currency that the name says; None for one that a US ticker might have, or an unknown one."""
    _, dot, suffix = name.rpartition(".")
    if dot + suffix in EXCHANGES:
        return EXCHANGES[dot + suffix]
    if name.startswith("^"):
        return INDICES.get(name[1:])
    base, _, quoted = name.rpartition("-")
    if base and quoted in QUOTED_IN:
        return "24/7", quoted
    if pair := _CURRENCIES.fullmatch(name):
        return "24/5", pair[1]
    return ("CMES", "USD") if _FUTURE.fullmatch(name) else None


def _assumed(name: str) -> tuple[str, str]:
    """Return New York for a name that says no exchange; raises SourceError for an index or suffix that is not known."""
    if name.startswith("^"):
        raise SourceError(
            f"found the index {name}, whose exchange is not known here, expected one of "
            f"{', '.join('^' + known for known in INDICES)}; take one of these, or a fund that follows it"
        )
    unknown = _SUFFIX.fullmatch(name)
    if not unknown:
        return US
    raise SourceError(
        f"found the suffix {unknown[1]} in {name}, whose exchange is not known here, expected one of "
        f"{', '.join(EXCHANGES)}, or none for a US ticker; take the listing on one of these exchanges"
    )
