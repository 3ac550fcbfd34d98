"""Ticker names and their listings: the calendar and currency that a name stands for, in the spelling that Yahoo uses.

Suffixes and quoted currencies: Yahoo's table of exchanges and data providers. London, Johannesburg and Tel Aviv are
quoted in hundredths (GBp, ZAc, ILA). Where two exchanges of a country share their trading days, one calendar stands
for both: XBOM for NSE and BSE, XSHG for Shanghai and Shenzhen, XTSE for Toronto's venture and junior markets. Athens
and Bucharest are not here: exchange_calendars cannot build theirs under pandas 3.
"""

import re
from collections.abc import Collection, Iterable
from difflib import get_close_matches

from pipeline.errors import SourceError
from pipeline.market.bars import Listing

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


EXCHANGES = {
    ".AS": ("XAMS", "EUR"),
    ".AX": ("XASX", "AUD"),
    ".BA": ("XBUE", "ARS"),
    ".BD": ("XBUD", "HUF"),
    ".BK": ("XBKK", "THB"),
    ".BO": ("XBOM", "INR"),
    ".BR": ("XBRU", "EUR"),
    ".CBT": ("CMES", "USD"),
    ".CL": ("XBOG", "COP"),
    ".CME": ("CMES", "USD"),
    ".CMX": ("CMES", "USD"),
    ".CN": ("XTSE", "CAD"),
    ".CO": ("XCSE", "DKK"),
    ".DE": ("XETR", "EUR"),
    ".DU": ("XDUS", "EUR"),
    ".F": ("XFRA", "EUR"),
    ".HE": ("XHEL", "EUR"),
    ".HK": ("XHKG", "HKD"),
    ".HM": ("XHAM", "EUR"),
    ".IC": ("XICE", "ISK"),
    ".IL": ("XLON", "USD"),
    ".IR": ("XDUB", "EUR"),
    ".IS": ("XIST", "TRY"),
    ".JK": ("XIDX", "IDR"),
    ".JO": ("XJSE", "ZAc"),
    ".KL": ("XKLS", "MYR"),
    ".KQ": ("XKRX", "KRW"),
    ".KS": ("XKRX", "KRW"),
    ".L": ("XLON", "GBp"),
    ".LS": ("XLIS", "EUR"),
    ".MC": ("XMAD", "EUR"),
    ".MI": ("XMIL", "EUR"),
    ".MX": ("XMEX", "MXN"),
    ".NE": ("XTSE", "CAD"),
    ".NS": ("XBOM", "INR"),
    ".NYB": ("IEPA", "USD"),
    ".NYM": ("CMES", "USD"),
    ".NZ": ("XNZE", "NZD"),
    ".OL": ("XOSL", "NOK"),
    ".PA": ("XPAR", "EUR"),
    ".PR": ("XPRA", "CZK"),
    ".PS": ("XPHS", "PHP"),
    ".RG": ("XRIS", "EUR"),
    ".SA": ("BVMF", "BRL"),
    ".SG": ("XSTU", "EUR"),
    ".SI": ("XSES", "SGD"),
    ".SN": ("XSGO", "CLP"),
    ".SR": ("XSAU", "SAR"),
    ".SS": ("XSHG", "CNY"),
    ".ST": ("XSTO", "SEK"),
    ".SW": ("XSWX", "CHF"),
    ".SZ": ("XSHG", "CNY"),
    ".T": ("XTKS", "JPY"),
    ".TA": ("XTAE", "ILA"),
    ".TL": ("XTAL", "EUR"),
    ".TO": ("XTSE", "CAD"),
    ".TW": ("XTAI", "TWD"),
    ".TWO": ("XTAI", "TWD"),
    ".V": ("XTSE", "CAD"),
    ".VI": ("XWBO", "EUR"),
    ".VS": ("XLIT", "EUR"),
    ".WA": ("XWAR", "PLN"),
}
"""Calendar and quoted currency by a ticker's suffix."""

US = ("XNYS", "USD")
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

QUOTED_IN = ("USD", "EUR", "GBP", "JPY", "CAD", "AUD", "CHF", "INR", "KRW", "USDT", "USDC", "BTC", "ETH")
"""What a pair such as BTC-USD may be quoted in; such pairs trade around the clock."""

_CURRENCIES = re.compile(r"(?:[A-Z]{3})?([A-Z]{3})=X")
_FUTURE = re.compile(r"[A-Z0-9]+=F")
_SUFFIX = re.compile(r".*(\.[A-Z]{2,})")


def listing_of(ticker: str) -> Listing:
    """Return the listing that the ticker's name stands for: calendar and currency of its exchange.

    A name without a suffix is a US one, and so is one with a single letter for a class of shares (BRK.B). Raises
    SourceError for any other suffix and for an index that is not known here: its sessions would be dated wrongly.
    """
    calendar, currency = _known(ticker.upper())
    return Listing(ticker, calendar, currency)


def calendar_of(ticker: str) -> str:
    """Return the calendar code of the ticker's exchange; raises SourceError as listing_of does."""
    return listing_of(ticker).calendar


def _known(name: str) -> tuple[str, str]:
    _, dot, suffix = name.rpartition(".")
    if dot + suffix in EXCHANGES:
        return EXCHANGES[dot + suffix]
    if name.startswith("^"):
        return _index(name)
    base, _, quoted = name.rpartition("-")
    if base and quoted in QUOTED_IN:
        return "24/7", quoted
    if pair := _CURRENCIES.fullmatch(name):
        return "24/5", pair[1]
    return ("CMES", "USD") if _FUTURE.fullmatch(name) else _without_suffix(name)


def _index(name: str) -> tuple[str, str]:
    if name[1:] in INDICES:
        return INDICES[name[1:]]
    raise SourceError(
        f"found the index {name}, whose exchange is not known here, expected one of "
        f"{', '.join('^' + known for known in INDICES)}; take one of these, or a fund that follows it"
    )


def _without_suffix(name: str) -> tuple[str, str]:
    unknown = _SUFFIX.fullmatch(name)
    if not unknown:
        return US
    raise SourceError(
        f"found the suffix {unknown[1]} in {name}, whose exchange is not known here, expected one of "
        f"{', '.join(EXCHANGES)}, or none for a US ticker; take the listing on one of these exchanges"
    )
