"""Updates of a collection of the price store: what to request, what the answers change, and what stays as it was.

Only the missing sessions are requested, with some sessions of overlap. Where the overlap differs from the stored rows,
the ticker's whole history is fetched again. A ticker that cannot be fetched keeps its stored rows, with their age.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from enum import StrEnum

from pipeline.errors import SourceError, TapecastError
from pipeline.market.adjustment import VENDOR_TOLERANCE, disagreements
from pipeline.market.bars import FetchedRows
from pipeline.market.calendars import age_sessions, last_completed_session, listing_of, sessions_between
from pipeline.market.listings import is_ticker
from pipeline.market.sources import RemoteSource
from pipeline.market.store.collection import Collection, CollectionTerms, facts
from pipeline.market.store.commits import commit, quarantine_file
from pipeline.market.store.history import Facts, Version
from pipeline.market.store.layout import DamagedFileError
from pipeline.market.store.restatement import Restatement, calls_for_whole_history, compare
from pipeline.market.store.stored import current_rows
from pipeline.market.validation.rules import problem_of

YAHOO_TERMS = CollectionTerms(
    kind="yahoo",
    has_actions=True,
    returns_from="actions",
    note="Prices from Yahoo Finance, which may restate them; only completed sessions are used.",
)

OVERLAP_SESSIONS = 10
OVERLAP_CALENDAR_DAYS = 45
"""Far enough back to hold that many sessions of any calendar, long holidays included."""


class UpdateState(StrEnum):
    """The state of a ticker after an update."""

    CURRENT = "up to date"
    UPDATED = "updated"
    RESTATED = "restated"
    BEHIND = "behind"
    NOT_REFRESHED = "not refreshed"
    MISSING = "missing"


@dataclass(frozen=True)
class UpdateResult:
    """One ticker after an update; `last_session` and its age are None where the store has no rows of it."""

    ticker: str
    state: UpdateState
    last_session: date | None
    age_sessions: int | None
    added: int = 0
    reason: str = ""
    restatements: tuple[Restatement, ...] = ()


@dataclass(frozen=True)
class UpdatePlan:
    """What an update requests: the first day per ticker; `results` are those of tickers that need no request."""

    now: datetime
    start: date
    first_days: Mapping[str, date]
    results: tuple[UpdateResult, ...]


def plan_update(collection: Collection, tickers: Iterable[str], now: datetime, start: date) -> UpdatePlan:
    """Return what to request so that the tickers are complete from `start` to their last completed session.

    A ticker whose name is invalid, or whose exchange is unknown, is missing.
    """
    first_days: dict[str, date] = {}
    results = []
    for ticker in dict.fromkeys(tickers):
        needed = _first_day_or_result(collection, ticker, now, start)
        if isinstance(needed, UpdateResult):
            results.append(needed)
        else:
            first_days[ticker] = needed
    return UpdatePlan(now, start, first_days, tuple(results))


def _first_day_or_result(collection: Collection, ticker: str, now: datetime, start: date) -> UpdateResult | date:
    """Return the first day to request, or the result of a ticker that needs no request."""
    try:
        calendar = listing_of(ticker).calendar
        last: date = last_completed_session(calendar, now).astype(object)
        known = known_facts(collection, ticker)
    except TapecastError as error:
        return UpdateResult(ticker, UpdateState.MISSING, None, None, reason=str(error))
    if known is None or (known.requested_from is not None and known.requested_from > start):
        return start
    try:
        rows = current_rows(collection, ticker)
    except DamagedFileError:
        return start
    # a vendor may deliver a blank row first, and its prices later
    if known.last_session >= last and rows["close"].notna().iloc[-1]:
        return UpdateResult(ticker, UpdateState.CURRENT, known.last_session, 0)
    return _overlap_start(calendar, known.last_session)


def known_facts(collection: Collection, ticker: str) -> Facts | None:
    """Return the stored facts of a ticker; None also where its file is damaged, so that it is fetched again."""
    try:
        return facts(collection, ticker)
    except DamagedFileError:
        return None


def _overlap_start(calendar: str, last: date) -> date:
    """Return the first day of the overlap with the rows stored up to `last`."""
    recent = sessions_between(calendar, last - timedelta(days=OVERLAP_CALENDAR_DAYS), last)
    first: date = recent[-OVERLAP_SESSIONS:][0].astype(object) if len(recent) else last
    return first


def run_update(collection: Collection, remote: RemoteSource, plan: UpdatePlan) -> Iterator[UpdateResult]:
    """Fetch what is planned, store the answers, and yield the result of each ticker.

    The whole history of a ticker that the source restated is fetched after the others.
    """
    refetch: dict[str, str] = {}
    for ticker, answer in remote.fetch(plan.first_days):
        if plan.first_days[ticker] == plan.start and isinstance(answer, FetchedRows):
            quarantine_file(collection, ticker)
        kinds = _restated_kinds(collection, ticker, answer)
        if kinds:
            refetch[ticker] = kinds
        else:
            yield store_answer(collection, ticker, answer, plan.now)
    whole = {ticker: _history_start(collection, ticker, plan.start) for ticker in refetch}
    for ticker, answer in remote.fetch(whole):
        quarantine_file(collection, ticker)
        yield _with_cause(refetch[ticker], store_answer(collection, ticker, answer, plan.now))


def _history_start(collection: Collection, ticker: str, start: date) -> date:
    known = known_facts(collection, ticker)
    return min(start, known.requested_from) if known and known.requested_from else start


def _restated_kinds(collection: Collection, ticker: str, answer: FetchedRows | SourceError) -> str:
    """Return the kinds of restatement in the overlap that require the whole history; an empty text for none."""
    if isinstance(answer, SourceError):
        return ""
    try:
        known = facts(collection, ticker)
        if known is None or answer.since is None or known.first_session >= answer.since:
            return ""
        restated = compare(current_rows(collection, ticker), completed_rows(ticker, answer).rows, answer.since)
        relevant = [it for it in restated if not _is_settlement(it, known.last_session)]
    except DamagedFileError:
        return "its file is damaged"
    except SourceError:
        return ""
    kinds = dict.fromkeys(it.kind for it in relevant)
    return ", ".join(kinds) if calls_for_whole_history(relevant) else ""


def _is_settlement(restatement: Restatement, last: date) -> bool:
    """Return whether only the last stored bar's numbers differ: they are often settled after the close."""
    return restatement.first_session >= last and restatement.kind in ("prices", "volume")


def _with_cause(kinds: str, result: UpdateResult) -> UpdateResult:
    """Return the result with the cause of the request for the whole history where that request failed."""
    if result.state is not UpdateState.NOT_REFRESHED:
        return result
    return replace(result, reason=f"its whole history had to be fetched again ({kinds}), but: {result.reason}")


def store_answer(collection: Collection, ticker: str, answer: FetchedRows | SourceError, now: datetime) -> UpdateResult:
    """Store the answer and return the ticker's result at `now`; the stored rows stay where it cannot be used."""
    if isinstance(answer, SourceError):
        return not_updated(collection, ticker, str(answer), now)
    try:
        checked = with_adjustment_problem(ticker, completed_rows(ticker, answer))
        known = known_facts(collection, ticker)
        version = commit(collection, ticker, with_currency_problem(known, ticker, checked))
    except SourceError as error:
        return not_updated(collection, ticker, str(error), now)
    return _result(ticker, version, now)


def _result(ticker: str, version: Version, now: datetime) -> UpdateResult:
    age = age_sessions(listing_of(ticker, version.exchange).calendar, version.last_session, now)
    kinds = ", ".join(dict.fromkeys(it.kind for it in version.restatements))
    if age:
        restated = f"; it restated its past ({kinds})" if kinds else ""
        reason = f"the source has no bar after {version.last_session}, {age} completed sessions ago{restated}"
        return UpdateResult(
            ticker, UpdateState.BEHIND, version.last_session, age, version.added, reason, version.restatements
        )
    state = UpdateState.RESTATED if kinds else UpdateState.UPDATED
    return UpdateResult(ticker, state, version.last_session, age, version.added, kinds, version.restatements)


def not_updated(collection: Collection, ticker: str, reason: str, now: datetime) -> UpdateResult:
    """Return the result of a ticker of which nothing new was stored: its stored rows stay, or it is missing."""
    known = known_facts(collection, ticker) if is_ticker(ticker) else None
    if known is None:
        return UpdateResult(ticker, UpdateState.MISSING, None, None, reason=reason)
    age = age_sessions(listing_of(ticker, known.exchange).calendar, known.last_session, now)
    return UpdateResult(ticker, UpdateState.NOT_REFRESHED, known.last_session, age, reason=reason)


def completed_rows(ticker: str, fetched: FetchedRows) -> FetchedRows:
    """Return the answer without bars of sessions that were not over when it was fetched.

    Raises SourceError where no completed session is left.
    """
    last = last_completed_session(listing_of(ticker, fetched.exchange).calendar, fetched.fetched_at)
    rows = fetched.rows[fetched.rows["session"].to_numpy().astype("datetime64[D]") <= last].reset_index(drop=True)
    if rows.empty:
        raise SourceError(f"the answer has no bar of a completed session, expected some up to {last}; try again later")
    return replace(fetched, rows=rows)


def with_currency_problem(known: Facts | None, ticker: str, fetched: FetchedRows) -> FetchedRows:
    """Return the answer, with a problem where its prices are in another currency than the stored ones."""
    if known is None or known.currency == fetched.currency:
        return fetched
    session = str(fetched.rows["session"].iloc[0].date())
    problem = problem_of(ticker, "currency", session, f"{fetched.currency} after {known.currency}", len(fetched.rows))
    return replace(fetched, problems=(*fetched.problems, problem))


def with_adjustment_problem(ticker: str, fetched: FetchedRows) -> FetchedRows:
    """Return the answer, with a problem where Yahoo's adjusted close implies other returns than its actions."""
    off = disagreements(fetched.rows, "yahoo", VENDOR_TOLERANCE)
    if not off.any():
        return fetched
    session = str(fetched.rows["session"].iloc[int(off.argmax())].date())
    found = "another return in adj_close than its dividends and splits make"
    problem = problem_of(ticker, "vendor_adjustment", session, found, int(off.sum()))
    return replace(fetched, problems=(*fetched.problems, problem))
