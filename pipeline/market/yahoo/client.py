"""Daily prices, dividends and splits from Yahoo Finance, asked for through yfinance."""

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
from pipeline.market.tickers import refuse_bad_name
from pipeline.market.yahoo.answers import Told, fetched
from pipeline.market.yahoo.batch import Answer, Attempt, answers
from pipeline.market.yahoo.politeness import Clock, Politeness, turns
from pipeline.market.yahoo.session import CookiesInMemory, PacedSession
from pipeline.market.yahoo.translation import Fault, fault_of, told_wait_seconds, translated

ANY_ZONE = "UTC"
TOLD = ("currency", "exchangeTimezoneName", "gmtoffset", "lastTrade")


@dataclass(frozen=True, eq=False)
class YahooClient:
    """Yahoo's daily history of tickers; a Remote.

    `first_day` begins a whole history. `session` is a curl_cffi session to send through, its owner closes it; without
    one each fetch opens its own. `cache_dir` is where yfinance may keep files. All of yfinance's settings hold for the
    whole process: two fetches at once share the session and the cookie of the later one.
    """

    first_day: date
    session: Session | None = None
    cache_dir: Path | None = None
    politeness: Politeness = field(default_factory=Politeness)
    clock: Clock = field(default_factory=Clock)
    jitter: np.random.Generator = field(default_factory=np.random.default_rng)

    def __post_init__(self) -> None:
        if self.cache_dir is not None:
            _keep_files_in(self.cache_dir)

    def fetch(self, asked: Mapping[str, date | None]) -> Iterator[tuple[str, Answer]]:
        """Each asked ticker with its rows since the day asked for (None: since `first_day`), or with its error."""
        refused = {ticker: error for ticker in asked if (error := _refusal(ticker))}
        yield from refused.items()
        named = {ticker: since for ticker, since in asked.items() if ticker not in refused}
        with _paced(self.session, turns(self.politeness.requests_per_second, self.clock)) as session:
            _prepare_yfinance(session)
            yield from answers(named, partial(self._attempt, session), self.politeness, self.clock, self.jitter)

    def _attempt(self, session: Session, ticker: str, since: date | None) -> Attempt:
        first_day = since or self.first_day
        try:
            asked = yfinance.Ticker(ticker, session=session)
            frame = _history(asked, first_day, self.politeness.timeout_seconds)
            told = Told(ticker, frame, _metadata(asked), self.clock.now())
        except Exception as error:  # noqa: BLE001  whatever yfinance raises is translated: the other tickers go on
            return Attempt(translated(error), fault_of(error) is Fault.REFUSED, told_wait_seconds(error))
        return Attempt(_fetched_or_error(told, first_day, since))


def _history(asked: yfinance.Ticker, first_day: date, timeout_seconds: float) -> pd.DataFrame:
    # Any zone will do to ask by: it saves the request by which yfinance asks for the ticker's own. A day earlier then
    # begins before the first day does anywhere on earth; the dates themselves come from the zone in the answer.
    asked._tz = ANY_ZONE
    start = (first_day - timedelta(days=1)).isoformat()
    history: pd.DataFrame = asked.history(start=start, auto_adjust=False, actions=True, timeout=timeout_seconds)
    return history


def _metadata(asked: yfinance.Ticker) -> Mapping[str, Any]:
    # one by one: as a whole they would bring one more request, for the trading periods of the day
    return {name: asked.history_metadata.get(name) for name in TOLD}


def _fetched_or_error(told: Told, first_day: date, since: date | None) -> Answer:
    try:
        return fetched(told, first_day, since)
    except SourceError as error:
        return error


def _refusal(ticker: str) -> SourceError | None:
    """Why the name is never asked for; None where it is."""
    try:
        refuse_bad_name(ticker)
    except SourceError as error:
        return error
    if yfinance.utils.is_isin(ticker.upper()):
        # yfinance would search for some ticker of that security, on some exchange, and keep its finding in a file
        return SourceError(f"found the ISIN {ticker}, expected a ticker; look up its ticker on the exchange you mean")
    return None


@contextmanager
def _paced(session: Session | None, wait_for_turn: Callable[[], None]) -> Iterator[PacedSession]:
    """Return a context whose value sends through the session in turn; a session of its own where there is none."""
    sender = Session(impersonate="chrome") if session is None else session
    paced = PacedSession(sender, wait_for_turn)
    try:
        yield paced
    finally:
        paced.close()
        if session is None:
            sender.close()


def _prepare_yfinance(session: Session) -> None:
    """Set what yfinance keeps for the whole process: errors are raised, nothing of an earlier fetch is kept.

    The cookie and the crumb belong to the session that asked for them, so each fetch asks for its own.
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
