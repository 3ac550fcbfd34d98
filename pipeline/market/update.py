"""Bringing a collection of the store up to date: what has to be asked, what the answers change, what stays as it was.

Only the missing tail is asked for, with some sessions of overlap. Where the overlap tells another past than the store,
the ticker's whole history is fetched anew. What cannot be had is served as it is stored, with its age.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from enum import StrEnum

from pipeline.errors import SourceError, TapecastError
from pipeline.market.adjustment import disagreements
from pipeline.market.calendars import age_sessions, last_completed_session, listing_of, sessions_between
from pipeline.market.contract.rules import problem_of
from pipeline.market.fetched import Fetched, Remote
from pipeline.market.store.collection import Collection, CollectionTerms, facts
from pipeline.market.store.commits import commit, set_aside
from pipeline.market.store.history import Facts, Version
from pipeline.market.store.layout import DamagedFileError
from pipeline.market.store.restatement import Restatement, calls_for_whole_history, compare
from pipeline.market.store.stored import current_rows
from pipeline.market.tickers import is_ticker

YAHOO_TERMS = CollectionTerms(
    kind="yahoo",
    has_actions=True,
    returns_from="actions",
    note="Prices from Yahoo Finance, which may restate them; only completed sessions are used.",
)

OVERLAP_SESSIONS = 10
OVERLAP_CALENDAR_DAYS = 45
"""Far enough back to hold that many sessions of any calendar, long holidays included."""

VENDOR_TOLERANCE = 1e-4


class State(StrEnum):
    """What an update did to a ticker."""

    CURRENT = "up to date"
    UPDATED = "updated"
    RESTATED = "restated"
    BEHIND = "behind"
    NOT_REFRESHED = "not refreshed"
    MISSING = "missing"


@dataclass(frozen=True)
class Refreshed:
    """One ticker after an update; `last_session` and its age are None where the store has nothing of it."""

    ticker: str
    state: State
    last_session: date | None
    age_sessions: int | None
    added: int = 0
    reason: str = ""


@dataclass(frozen=True)
class Plan:
    """What an update has to ask: the first day wanted per ticker; the rest is settled."""

    now: datetime
    start: date
    asked: Mapping[str, date]
    settled: tuple[Refreshed, ...]


def plan_update(collection: Collection, tickers: Iterable[str], now: datetime, start: date) -> Plan:
    """What has to be asked so that the tickers are complete from `start` to their last completed session.

    A ticker whose name cannot be one, or whose exchange is not known, is settled as missing.
    """
    asked: dict[str, date] = {}
    settled = []
    for ticker in dict.fromkeys(tickers):
        wanted = _wanted(collection, ticker, now, start)
        if isinstance(wanted, Refreshed):
            settled.append(wanted)
        else:
            asked[ticker] = wanted
    return Plan(now, start, asked, tuple(settled))


def _wanted(collection: Collection, ticker: str, now: datetime, start: date) -> Refreshed | date:
    """The first day to be asked for, or how the ticker stands where nothing is."""
    try:
        calendar = listing_of(ticker).calendar
        last: date = last_completed_session(calendar, now).astype(object)
        known = known_facts(collection, ticker)
    except TapecastError as error:
        return Refreshed(ticker, State.MISSING, None, None, reason=str(error))
    if known is None or (known.asked_from is not None and known.asked_from > start):
        return start
    try:
        rows = current_rows(collection, ticker)
    except DamagedFileError:
        return start
    # a vendor may tell a blank row first, and its prices later
    if known.last_session >= last and rows["close"].notna().iloc[-1]:
        return Refreshed(ticker, State.CURRENT, known.last_session, 0)
    return _overlapping(calendar, known.last_session)


def known_facts(collection: Collection, ticker: str) -> Facts | None:
    """What the store knows of a ticker; None also where its file is damaged, so that it is fetched anew."""
    try:
        return facts(collection, ticker)
    except DamagedFileError:
        return None


def _overlapping(calendar: str, last: date) -> date:
    """The first day of the overlap with what is stored up to `last`."""
    recent = sessions_between(calendar, last - timedelta(days=OVERLAP_CALENDAR_DAYS), last)
    first: date = recent[-OVERLAP_SESSIONS:][0].astype(object) if len(recent) else last
    return first


def refresh(collection: Collection, remote: Remote, plan: Plan) -> Iterator[Refreshed]:
    """Ask the source, store the answers, and yield each ticker as it then stands.

    A history that the source restated is asked for as a whole, after the others.
    """
    anew: dict[str, str] = {}
    for ticker, answer in remote.fetch(plan.asked):
        if plan.asked[ticker] == plan.start and isinstance(answer, Fetched):
            set_aside(collection, ticker)
        kinds = _told_otherwise(collection, ticker, answer)
        if kinds:
            anew[ticker] = kinds
        else:
            yield stored(collection, ticker, answer, plan.now)
    for ticker, answer in remote.fetch({ticker: _its_start(collection, ticker, plan.start) for ticker in anew}):
        set_aside(collection, ticker)
        yield _because(anew[ticker], stored(collection, ticker, answer, plan.now))


def _its_start(collection: Collection, ticker: str, start: date) -> date:
    known = known_facts(collection, ticker)
    return min(start, known.asked_from) if known and known.asked_from else start


def _told_otherwise(collection: Collection, ticker: str, answer: Fetched | SourceError) -> str:
    """The kinds in which an answer's overlap differs from the store, where they call for the whole history."""
    if isinstance(answer, SourceError):
        return ""
    try:
        known = facts(collection, ticker)
        if known is None or answer.since is None or known.first_session >= answer.since:
            return ""
        told = compare(current_rows(collection, ticker), completed(ticker, answer).rows, answer.since)
        found = [one for one in told if not _settled_later(one, known.last_session)]
    except DamagedFileError:
        return "its file is damaged"
    except SourceError:
        return ""
    kinds = dict.fromkeys(one.kind for one in found)
    return ", ".join(kinds) if calls_for_whole_history(found) else ""


def _settled_later(one: Restatement, last: date) -> bool:
    """Whether only the last stored bar's numbers differ: they are often settled after the close."""
    return one.first_session >= last and one.kind in ("prices", "volume")


def _because(kinds: str, refreshed: Refreshed) -> Refreshed:
    """The same, saying why the whole history was asked for where that failed."""
    if refreshed.state is not State.NOT_REFRESHED:
        return refreshed
    return replace(refreshed, reason=f"its past had to be fetched anew ({kinds}), but: {refreshed.reason}")


def stored(collection: Collection, ticker: str, answer: Fetched | SourceError, now: datetime) -> Refreshed:
    """How the ticker stands at `now` once the answer is stored, or as it was where there is none that can be."""
    if isinstance(answer, SourceError):
        return as_it_was(collection, ticker, str(answer), now)
    try:
        told = compared(ticker, completed(ticker, answer))
        version = commit(collection, ticker, with_currency(known_facts(collection, ticker), ticker, told))
    except SourceError as error:
        return as_it_was(collection, ticker, str(error), now)
    return _told(ticker, version, now)


def _told(ticker: str, version: Version, now: datetime) -> Refreshed:
    age = age_sessions(listing_of(ticker).calendar, version.last_session, now)
    kinds = ", ".join(dict.fromkeys(one.kind for one in version.restatements))
    if age:
        restated = f"; it restated its past ({kinds})" if kinds else ""
        reason = f"the source has no bar after {version.last_session}, {age} completed sessions ago{restated}"
        return Refreshed(ticker, State.BEHIND, version.last_session, age, version.added, reason)
    state = State.RESTATED if kinds else State.UPDATED
    return Refreshed(ticker, state, version.last_session, age, version.added, kinds)


def as_it_was(collection: Collection, ticker: str, reason: str, now: datetime) -> Refreshed:
    """How the ticker stands where nothing new could be stored: served as it is, or missing."""
    known = known_facts(collection, ticker) if is_ticker(ticker) else None
    if known is None:
        return Refreshed(ticker, State.MISSING, None, None, reason=reason)
    age = age_sessions(listing_of(ticker).calendar, known.last_session, now)
    return Refreshed(ticker, State.NOT_REFRESHED, known.last_session, age, reason=reason)


def completed(ticker: str, fetched: Fetched) -> Fetched:
    """The same without bars of sessions that were not over when it was fetched.

    Raises SourceError where no completed session is left.
    """
    last = last_completed_session(listing_of(ticker).calendar, fetched.fetched_at)
    rows = fetched.rows[fetched.rows["session"].to_numpy().astype("datetime64[D]") <= last].reset_index(drop=True)
    if rows.empty:
        raise SourceError(f"the answer has no bar of a completed session, expected some up to {last}; try again later")
    return replace(fetched, rows=rows)


def with_currency(known: Facts | None, ticker: str, fetched: Fetched) -> Fetched:
    """The same with the problem, if there is one, that the prices are now told in another currency."""
    if known is None or known.currency == fetched.currency:
        return fetched
    session = str(fetched.rows["session"].iloc[0].date())
    problem = problem_of(ticker, "currency", session, f"{fetched.currency} after {known.currency}", len(fetched.rows))
    return replace(fetched, problems=(*fetched.problems, problem))


def compared(ticker: str, fetched: Fetched) -> Fetched:
    """The same with the problem, if there is one, that Yahoo's adjusted close tells other returns than its actions."""
    off = disagreements(fetched.rows, "yahoo", VENDOR_TOLERANCE)
    if not off.any():
        return fetched
    session = str(fetched.rows["session"].iloc[int(off.argmax())].date())
    found = "another return in adj_close than its dividends and splits make"
    problem = problem_of(ticker, "vendor_adjustment", session, found, int(off.sum()))
    return replace(fetched, problems=(*fetched.problems, problem))
