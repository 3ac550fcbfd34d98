"""Client of Yahoo Finance: daily prices, dividends and splits, requested through yfinance."""

import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yfinance
import yfinance.cache
import yfinance.utils
from curl_cffi.requests import Session
from yfinance.data import YfData

from pipeline.errors import SourceError, UsageError
from pipeline.market.listings import refuse_bad_name
from pipeline.market.yahoo.answers import YahooResponse, parse_response
from pipeline.market.yahoo.batch import Answer, RequestAttempt, answers
from pipeline.market.yahoo.rate_limit import Clock, RateLimitedSession, RequestLimits, rate_limiter
from pipeline.market.yahoo.translation import FailureKind, failure_kind, retry_after_seconds, source_error

ANY_ZONE = "UTC"
METADATA = ("currency", "exchangeTimezoneName", "gmtoffset", "lastTrade")


@dataclass(frozen=True, eq=False)
class YahooClient:
    """Yahoo's daily history of tickers; a RemoteSource.

    `first_day` begins a whole history. `session` is a curl_cffi session to send through, its owner closes it; without
    one each fetch opens one. `cache_dir` is where yfinance may keep files. yfinance's settings apply to the
    whole process: two concurrent fetches share the session and the cookie of the later one.
    """

    first_day: date
    session: Session | None = None
    cache_dir: Path | None = None
    limits: RequestLimits = field(default_factory=RequestLimits)
    clock: Clock = field(default_factory=Clock)
    jitter: np.random.Generator = field(default_factory=np.random.default_rng)

    def __post_init__(self) -> None:
        if self.cache_dir is not None:
            _keep_files_in(self.cache_dir)

    def fetch(self, first_days: Mapping[str, date | None]) -> Iterator[tuple[str, Answer]]:
        """Yield each ticker with its rows from its first day on (None: from `first_day`), or with its error."""
        refused = {ticker: error for ticker in first_days if (error := _refusal(ticker))}
        yield from refused.items()
        requested = {ticker: since for ticker, since in first_days.items() if ticker not in refused}
        with _paced(self.session, rate_limiter(self.limits.requests_per_second, self.clock)) as session:
            _prepare_yfinance(session)
            yield from answers(requested, partial(self._attempt, session), self.limits, self.clock, self.jitter)

    def _attempt(self, session: Session, ticker: str, since: date | None) -> RequestAttempt:
        first_day = since or self.first_day
        try:
            request = yfinance.Ticker(ticker, session=session)
            frame = _history(request, first_day, self.limits.timeout_seconds)
            response = YahooResponse(ticker, frame, _metadata(request), self.clock.now())
        except Exception as error:  # noqa: BLE001  whatever yfinance raises is translated: the other tickers go on
            return RequestAttempt(
                source_error(error), failure_kind(error) is FailureKind.REFUSED, retry_after_seconds(error)
            )
        return RequestAttempt(_rows_or_error(response, first_day, since))


def _history(request: yfinance.Ticker, first_day: date, timeout_seconds: float) -> pd.DataFrame:
    # Any zone will do: it saves the request by which yfinance looks up the ticker's own. Starting a day earlier covers
    # the first day in every zone; the dates themselves come from the zone in the answer.
    request._tz = ANY_ZONE
    start = (first_day - timedelta(days=1)).isoformat()
    history: pd.DataFrame = request.history(start=start, auto_adjust=False, actions=True, timeout=timeout_seconds)
    return history


def _metadata(request: yfinance.Ticker) -> Mapping[str, Any]:
    # one by one: all at once would send one more request, for the trading periods of the day
    return {name: request.history_metadata.get(name) for name in METADATA}


def _rows_or_error(response: YahooResponse, first_day: date, since: date | None) -> Answer:
    try:
        return parse_response(response, first_day, since)
    except SourceError as error:
        return error


def _refusal(ticker: str) -> SourceError | None:
    """Return the error for a name that is never requested; None for a ticker."""
    try:
        refuse_bad_name(ticker)
    except SourceError as error:
        return error
    if yfinance.utils.is_isin(ticker.upper()):
        # yfinance would look up a ticker of that security, on any exchange, and keep the result in a file
        return SourceError(f"found the ISIN {ticker}, expected a ticker; look up its ticker on the exchange you mean")
    return None


@contextmanager
def _paced(session: Session | None, wait_for_turn: Callable[[], None]) -> Iterator[RateLimitedSession]:
    """Return a context whose value sends through the session at a limited rate; through a new one for None."""
    sender = Session(impersonate="chrome") if session is None else session
    paced = RateLimitedSession(sender, wait_for_turn)
    try:
        yield paced
    finally:
        paced.close()
        if session is None:
            sender.close()


def _prepare_yfinance(session: Session) -> None:
    """Set yfinance's state of the whole process: errors are raised, nothing of an earlier fetch is reused.

    The cookie and the crumb belong to the session that requested them, so each fetch requests its own.
    """
    yfinance.config.debug.hide_exceptions = False
    yfinance.cache._CookieCacheManager._Cookie_cache = CookiesInMemory()
    shared = YfData(session=session)
    shared._cookie = shared._crumb = None
    shared._cookie_strategy = "basic"
    YfData.cache_get.cache_clear()
    # after yfinance's import, which sets filters of its own; per fetch, as a caller may have restored the filters
    warnings.filterwarnings("ignore", category=pd.errors.Pandas4Warning, module=r"yfinance\.")


def _keep_files_in(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"cannot make the folder {folder} for yfinance's files ({error}); choose another") from error
    yfinance.set_tz_cache_location(str(folder))


class CookiesInMemory:
    """Replaces yfinance's file of cookies, which holds pickles: nothing read from disk may execute code.

    Without such a store yfinance would request a new cookie before every request.
    """

    def __init__(self) -> None:
        self._cookies: dict[str, dict[str, Any]] = {}

    def lookup(self, strategy: str) -> dict[str, Any] | None:
        """Return the cookie of a strategy; None where there is none."""
        return self._cookies.get(strategy)

    def store(self, strategy: str, cookie: Any) -> None:
        """Keep the cookie; None removes it."""
        self._cookies.pop(strategy, None)
        if cookie is not None:
            self._cookies[strategy] = {"cookie": cookie}
