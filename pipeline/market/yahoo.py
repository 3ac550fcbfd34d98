"""Daily prices, dividends and splits from Yahoo Finance through yfinance, brought to bars as traded."""

import warnings
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import pandas as pd
import peewee
import yfinance
from curl_cffi.requests.exceptions import HTTPError
from yfinance.data import YfData
from yfinance.exceptions import YFException, YFNotImplementedError, YFRateLimitError, YFTickerMissingError

from pipeline.errors import SourceError, SourceUnavailableError, UsageError
from pipeline.market.adjustment import as_traded, plain_actions
from pipeline.market.bars import ReturnsFrom
from pipeline.market.columns import PER_TICKER, missing, renamed
from pipeline.market.specification import PriceBasis
from pipeline.market.tickers import refuse_bad_name

NO_ANSWER = (YFRateLimitError, OSError, peewee.PeeweeException)
"""Refused for now, no network (curl's errors are OSErrors), or yfinance's own cache file locked by another process."""

UNREADABLE_ANSWER = (YFException, YFNotImplementedError, ValueError, LookupError, TypeError, AttributeError)
"""What yfinance raises on answers of a shape that it does not know: HTML, half of a JSON text, absent fields."""


@dataclass(frozen=True, eq=False)
class YahooPrices:
    """Yahoo's daily history from a first day on, asked for ticker by ticker.

    `session` is a curl_cffi session to send the requests through; `cache_dir` is where yfinance keeps cookies and
    time zones. Both are settings of the whole process in yfinance: two sources with different ones do not mix.
    """

    start: date
    session: Any = None
    cache_dir: Path | None = None
    price_basis: PriceBasis = "as_traded"
    has_actions: bool = True
    returns_from: ReturnsFrom = "actions"
    remote: bool = True
    note: str = "Prices from Yahoo Finance, which may restate them; only completed sessions are used."

    def __post_init__(self) -> None:
        if self.cache_dir is not None:
            _keep_cache_in(self.cache_dir)

    def tickers(self) -> tuple[str, ...]:
        """None: Yahoo does not list what it has, so the tickers have to be named."""
        return ()

    def rows(self, ticker: str) -> pd.DataFrame:
        """The ticker's rows as traded; a SourceError, or a SourceUnavailableError where trying again may help."""
        refuse_bad_name(ticker)
        return _normalised(ticker, self._history(ticker))

    def _history(self, ticker: str) -> pd.DataFrame:
        _prepare_yfinance()
        try:
            return self._asked(ticker)
        except (*NO_ANSWER, *UNREADABLE_ANSWER) as error:
            raise translated(error) from error

    def _asked(self, ticker: str) -> pd.DataFrame:
        asked = yfinance.Ticker(ticker, session=self.session)
        history: pd.DataFrame = asked.history(start=self.start.isoformat(), auto_adjust=False, actions=True)
        return history


def translated(error: Exception) -> SourceError:
    """The error as one of ours: nothing known of the ticker, or an answer that may come another time."""
    if isinstance(error, YFTickerMissingError) or _is_not_found(error):
        return SourceError(f"Yahoo has no prices: found {_described(error)}; check the ticker's spelling on its site")
    if isinstance(error, NO_ANSWER):
        return SourceUnavailableError(f"Yahoo did not answer: found {_described(error)}; try again later")
    return SourceUnavailableError(
        f"Yahoo's answer cannot be read: found {_described(error)}; try again later, or update yfinance"
    )


def _is_not_found(error: Exception) -> bool:
    return isinstance(error, HTTPError) and error.response is not None and error.response.status_code == 404


def _normalised(ticker: str, history: pd.DataFrame) -> pd.DataFrame:
    """Yahoo's frame as rows: its Close is split-adjusted even where not asked to be, so the splits are taken out."""
    if history.empty:
        raise SourceError(f"Yahoo answered with no rows for {ticker}; it may be delisted, or younger than the start")
    rows = renamed(history.rename_axis("session").reset_index())
    if lacking := missing(rows.columns, (*PER_TICKER, "adj_close", "dividend", "split")):
        raise SourceUnavailableError(f"Yahoo's answer has no {', '.join(lacking)}; update yfinance")
    wall = rows["session"].dt.tz_localize(None).dt.normalize()
    return as_traded(plain_actions(rows.assign(session=wall)))


def _prepare_yfinance() -> None:
    """Set what yfinance keeps for the whole process: errors are raised, and no failed answer is given again."""
    yfinance.config.debug.hide_exceptions = False
    YfData.cache_get.cache_clear()
    # after yfinance's import, which sets filters of its own; per call, as a caller may have restored the filters
    warnings.filterwarnings("ignore", category=pd.errors.Pandas4Warning, module=r"yfinance\.")


def _keep_cache_in(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"cannot make the folder {folder} for Yahoo's cookies ({error}); choose another") from error
    yfinance.set_tz_cache_location(str(folder))


def _described(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__} ({lines[0][:200]})" if lines else type(error).__name__
