"""Exchanges: the calendar and currency of each, the suffixes that stand for it, and the other names that it goes by.

Suffixes and quoted currencies: Yahoo's table of exchanges and data providers. London, Johannesburg and Tel Aviv are
quoted in hundredths (GBp, ZAc, ILA). Where two exchanges of a country share their trading days, one calendar stands
for both: XBOM for NSE and BSE, XSHG for Shanghai and Shenzhen, XTSE for Toronto's venture and junior markets. Athens
and Bucharest are not here: exchange_calendars cannot build theirs under pandas 3.
"""

from difflib import get_close_matches

from pipeline.errors import UsageError

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
CURRENCIES = {**dict(EXCHANGES.values()), "24/5": "USD", "24/7": "USD", "XNYS": "USD"}
"""Quoted currency by calendar, of every calendar that is known here; of London's two that of .L, the later one."""

OTHER_NAMES = {
    **dict.fromkeys(("AMEX", "ARCX", "BATS", "IEXG", "NASDAQ", "NYSE", "XASE", "XNAS"), "XNYS"),
    **dict.fromkeys(("BSE", "NSE", "XNSE"), "XBOM"),
    **dict.fromkeys(("SSE", "SZSE", "XSHE"), "XSHG"),
    **dict.fromkeys(("NEOE", "TSX", "TSXV", "XCNQ", "XTSX"), "XTSE"),
    **dict.fromkeys(("KOSDAQ", "KOSPI", "KRX", "XKOS"), "XKRX"),
    **dict.fromkeys(("ROCO", "TPEX", "TWSE"), "XTAI"),
    **dict.fromkeys(("HKEX", "SEHK"), "XHKG"),
    "ASX": "XASX",
    "JPX": "XTKS",
    "LSE": "XLON",
    "SGX": "XSES",
    "SIX": "XSWX",
    "XETRA": "XETR",
}
"""Calendar by further codes (ISO 10383) and by the short names that vendors write."""

QUOTED_IN = ("USD", "EUR", "GBP", "JPY", "CAD", "AUD", "CHF", "INR", "KRW", "USDT", "USDC", "BTC", "ETH")
"""What a pair such as BTC-USD may be quoted in; such pairs trade around the clock."""

_ENDINGS = {"24/5": ("=X",), "CMES": ("=F",), "XNYS": ("",)}


def calendar_named(exchange: str) -> str:
    """Return the calendar of an exchange by its code or another name; raises UsageError for one that is not known."""
    name = exchange.strip().upper()
    if name in CURRENCIES:
        return name
    if name in OTHER_NAMES:
        return OTHER_NAMES[name]
    near = get_close_matches(name, (*CURRENCIES, *OTHER_NAMES), n=3)
    hint = f"; did you mean {' or '.join(near)}?" if near else ""
    known = ", ".join(sorted(CURRENCIES))
    raise UsageError(f"found {exchange[:32]!a} as an exchange, expected one of {known}{hint}")


def without_suffix(ticker: str) -> str:
    """Return the ticker without the suffix of an exchange, where it has one that is known."""
    base, dot, suffix = ticker.rpartition(".")
    return base if base and dot + suffix.upper() in EXCHANGES else ticker


def spellings(ticker: str, calendar: str) -> tuple[str, ...]:
    """Return how the ticker would be written on a calendar's exchanges, as in INFY.NS and INFY.BO."""
    if calendar == "24/7":
        return (_pair(ticker),)
    endings = _ENDINGS.get(calendar) or [suffix for suffix, (code, _) in EXCHANGES.items() if code == calendar][::-1]
    return tuple(without_suffix(ticker) + ending for ending in endings)


def _pair(ticker: str) -> str:
    """Return BTC-USDT of BTCUSDT, and BTC-USD of BTC."""
    quoted = next((it for it in QUOTED_IN if ticker.upper().endswith(it) and len(ticker) > len(it)), "")
    return f"{ticker[: len(ticker) - len(quoted)]}-{quoted or 'USD'}"
