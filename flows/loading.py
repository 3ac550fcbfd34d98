"""Loading the bars of a run: refreshed where they come from Yahoo, then read and checked; what is old is marked."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from flows.checking import age_limit, claims_to_be_fresh, door_terms, found_rows, recorded, wanted_of
from flows.markets import Loaded
from flows.naming import spelled, universe_of
from flows.refreshing import refresh_yahoo
from flows.tasks import as_task
from pipeline.errors import NothingUsableError, SourceError, UsageError
from pipeline.experiment import Experiment
from pipeline.market.bars import Admitted, LeftOut, Stale
from pipeline.market.calendars import age_sessions
from pipeline.market.door import Terms, admit
from pipeline.market.source import Source, open_source
from pipeline.market.specification import SourceSpec, StoredSource, YahooSource
from pipeline.market.update import Refreshed, State
from pipeline.settings import Settings


def looking_from(source: SourceSpec, now: datetime) -> datetime:
    """Return the instant from which a run on this source looks: the one it is to be known at, or now."""
    return source.as_known if isinstance(source, StoredSource) and source.as_known else now


def load_bars(settings: Settings, experiment: Experiment, now: datetime) -> Loaded:
    """Return the checked bars of the experiment's tickers (none: all that its source holds), and what to say of them.

    Raises NothingUsableError when none came through the door.
    """
    universe = universe_of(settings, experiment.source, experiment.universe) if experiment.universe else None
    named = universe.tickers if universe else spelled(experiment.source, experiment.tickers)
    refreshed = refreshed_for(settings, experiment.source, named, now)
    source = open_source(experiment.source, settings.prices)
    wanted = wanted_of(source, named)
    most_age = age_limit(source, getattr(experiment.source, "most_age_sessions", None))
    terms = replace(
        door_terms(source, now, experiment.minimum_sessions, most_age), currencies=source.currencies(wanted)
    )
    admitted = as_task(checked, "check")(source, wanted, refreshed, terms)
    if not admitted.bars.listings:
        raise nothing_left(admitted.left_out)
    unasked = old_bars(admitted, now) if not refreshed and claims_to_be_fresh(source) else ()
    stale = (*stale_of(refreshed, admitted), *unasked)
    noted = replace(admitted, problems=(*admitted.problems, *recorded(source, admitted.bars.tickers)))
    return Loaded(noted, stale, source.note, known_from(experiment.source), universe)


def known_from(source: SourceSpec) -> datetime | None:
    """Return the instant as known at which the store tells what has just been read from it, in whole seconds.

    None where prices are not kept in the store.
    """
    if isinstance(source, StoredSource) and source.as_known:
        return source.as_known
    if not isinstance(source, StoredSource | YahooSource):
        return None
    return datetime.now(UTC).replace(microsecond=0) + timedelta(seconds=1)


def refreshed_for(
    settings: Settings, source: SourceSpec, tickers: tuple[str, ...], now: datetime
) -> tuple[Refreshed, ...]:
    """Return how each ticker stands after asking a remote source; nothing where the source is none."""
    if not isinstance(source, YahooSource):
        return ()
    if not tickers:
        raise UsageError("found no tickers, and Yahoo does not list its own; name them with --tickers AAPL,MSFT")
    return refresh_yahoo(settings, source, tickers, now)


def checked(source: Source, tickers: Iterable[str], refreshed: Sequence[Refreshed], terms: Terms) -> Admitted:
    """Return what came through the door; a ticker that could not be refreshed is told with the reason."""
    why = {one.ticker: one.reason for one in refreshed if one.reason}
    missing = {one.ticker for one in refreshed if one.state is State.MISSING}
    found = found_rows(source, [ticker for ticker in tickers if ticker not in missing])
    found |= {ticker: SourceError(why[ticker]) for ticker in tickers if ticker in missing}
    admitted = admit(found, terms)
    return replace(admitted, left_out=tuple(with_reason(out, missing, why) for out in admitted.left_out))


def with_reason(out: LeftOut, missing: set[str], why: Mapping[str, str]) -> LeftOut:
    """Return the same with the reason why it could not be refreshed, where that is not yet told."""
    if out.ticker in missing or out.ticker not in why:
        return out
    return LeftOut(out.ticker, f"{out.reason}; {why[out.ticker]}")


def stale_of(refreshed: Sequence[Refreshed], admitted: Admitted) -> tuple[Stale, ...]:
    """Return the tickers that are served though they are not up to date, each once."""
    stopped = {out.ticker for out in admitted.left_out}
    not_refreshed = [
        Stale(one.ticker, str(one.last_session), one.age_sessions or 0, one.reason)
        for one in refreshed
        if one.state in (State.BEHIND, State.NOT_REFRESHED) and one.ticker not in stopped
    ]
    told = {one.ticker: one for one in (*not_refreshed, *admitted.stale)}
    return tuple(told.values())


def old_bars(admitted: Admitted, now: datetime) -> tuple[Stale, ...]:
    """Return the tickers whose stored bars end before their last completed session, where nobody was asked."""
    stopped = {out.ticker for out in admitted.left_out} | {one.ticker for one in admitted.stale}
    last = admitted.bars.frame.groupby("ticker")["session"].last()
    shown = [listing for listing in admitted.bars.listings if listing.ticker not in stopped]
    days = {listing.ticker: last[listing.ticker].date() for listing in shown}
    ages = {listing.ticker: age_sessions(listing.calendar, days[listing.ticker], now) for listing in shown}
    reason = "nobody was asked for newer bars than the store has"
    return tuple(Stale(ticker, str(days[ticker]), age, reason) for ticker, age in ages.items() if age)


def nothing_left(left_out: Sequence[LeftOut]) -> NothingUsableError:
    """Return the error that says why no ticker is left."""
    reasons = "; ".join(f"{out.ticker}: {out.reason}" for out in left_out)
    return NothingUsableError(f"no usable ticker is left: {reasons}", left_out)
