"""Loading the bars of a run: updated where they come from Yahoo, then read and validated; old ones are marked."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from pipeline.errors import SourceError, UsageError
from pipeline.experiment import Experiment
from pipeline.market.bars import Exclusion, Restated, Stale, ValidatedBars
from pipeline.market.calendars import age_sessions
from pipeline.market.sources import RemoteSource, Source, open_source
from pipeline.market.specification import YAHOO, SourceSpec, StoredSource, YahooSource
from pipeline.market.store.collection import Collection, open_collection
from pipeline.market.update import YAHOO_TERMS, UpdatePlan, UpdateResult, UpdateState, plan_update, run_update
from pipeline.market.validation.validate import ValidationTerms, terms_for, validate
from pipeline.settings import Settings
from pipeline.wording import count_of, exclusion_sentence, stale_sentence
from pipeline.workflow.calendar_bars import LoadedBars, nothing_left
from pipeline.workflow.run_context import RunContext
from pipeline.workflow.tickers import requested_tickers, spelled, universe_of
from pipeline.workflow.validation import (
    age_limit,
    is_updated_from_yahoo,
    recorded_problems,
    rows_by_ticker,
)


def load(context: RunContext, experiment: Experiment, reported: tuple[str, ...] | None = None) -> LoadedBars:
    """Return the accepted bars of a run; reports which tickers (default: any) are excluded or not up to date.

    What is reported first is a calendar that the bars do not fit.
    """
    with context.timer.stage("load"):
        loaded = load_accepted_bars(context, experiment)
    for mismatch in loaded.validated.calendar_mismatches:
        context.progress.message(str(mismatch))
    sentences = [(out.ticker, exclusion_sentence(out.ticker, out.reason)) for out in loaded.validated.excluded]
    sentences += [(it.ticker, stale_sentence(it.ticker, it.age_sessions, it.reason)) for it in loaded.stale]
    for ticker, sentence in sentences:
        if reported is None or ticker in reported:
            context.progress.message(sentence)
    return loaded


def load_accepted_bars(context: RunContext, experiment: Experiment) -> LoadedBars:
    """Return the accepted bars of the experiment's tickers (none: all that its source holds).

    Raises NothingUsableError when none is accepted.
    """
    settings, now = context.settings, context.now
    universe = universe_of(settings, experiment.source, experiment.universe) if experiment.universe else None
    named = universe.tickers if universe else spelled(experiment.source, experiment.tickers)
    refreshed = updated(context, experiment.source, named)
    source = open_source(experiment.source, settings.prices)
    tickers = requested_tickers(source, named)
    most_age = age_limit(source, getattr(experiment.source, "max_age_sessions", None))
    terms = terms_for(source, tickers, now, experiment.minimum_sessions, most_age)
    validated = context.step(accepted, "check")(source, tickers, refreshed, terms)
    if not validated.bars.listings:
        raise nothing_left(validated.excluded, validated.calendar_mismatches)
    not_refreshed = old_bars(validated, now) if not refreshed and is_updated_from_yahoo(source) else ()
    stale = (*stale_of(refreshed, validated), *not_refreshed)
    problems = (*validated.problems, *recorded_problems(source, validated.bars.tickers))
    restated = tuple(Restated(it.ticker, "; ".join(map(str, it.restatements))) for it in refreshed if it.restatements)
    return LoadedBars(
        replace(validated, problems=problems),
        stale,
        source.note,
        known_from(experiment.source, context.clock()),
        universe,
        terms.listings,
        source.price_basis,
        restated,
    )


def known_from(source: SourceSpec, now: datetime) -> datetime | None:
    """Return the instant as of which the store returns what has just been read from it at `now`, in whole seconds.

    None where prices are not stored.
    """
    if isinstance(source, StoredSource) and source.as_known:
        return source.as_known
    if not isinstance(source, StoredSource | YahooSource):
        return None
    return now.replace(microsecond=0) + timedelta(seconds=1)


# --- Updates from Yahoo ---


def yahoo_collection(settings: Settings) -> Collection:
    """Return the collection that Yahoo's prices are stored in."""
    return open_collection(settings.prices, YAHOO, YAHOO_TERMS)


def updated(context: RunContext, source: SourceSpec, tickers: tuple[str, ...]) -> tuple[UpdateResult, ...]:
    """Return the state of each ticker after an update from Yahoo; nothing where the source is another one."""
    if not isinstance(source, YahooSource):
        return ()
    if not tickers:
        raise UsageError("found no tickers, and Yahoo does not list its own; name them with --tickers AAPL,MSFT")
    collection = yahoo_collection(context.settings)
    return request_yahoo(context, source, collection, plan_update(collection, tickers, context.now, source.start))


def request_yahoo(
    context: RunContext, source: YahooSource, collection: Collection, plan: UpdatePlan
) -> tuple[UpdateResult, ...]:
    """Return the state of each ticker of a plan after requesting from Yahoo what the store lacks."""
    if not plan.first_days:
        return plan.results
    client = context.remote(source, context.settings.cache, context.clock)
    refreshed = context.step(_refreshed, f"request {count_of(len(plan.first_days), 'ticker')} from Yahoo")(
        collection, client, plan
    )
    return (*plan.results, *refreshed)


def _refreshed(collection: Collection, remote: RemoteSource, plan: UpdatePlan) -> tuple[UpdateResult, ...]:
    return tuple(run_update(collection, remote, plan))


# --- Validation, and what is not up to date ---


def accepted(
    source: Source, tickers: Iterable[str], refreshed: Sequence[UpdateResult], terms: ValidationTerms
) -> ValidatedBars:
    """Return the validated rows; a ticker that could not be updated is reported with the reason."""
    reasons = {update.ticker: update.reason for update in refreshed if update.reason}
    missing = {update.ticker for update in refreshed if update.state is UpdateState.MISSING}
    rows = rows_by_ticker(source, [ticker for ticker in tickers if ticker not in missing])
    rows |= {ticker: SourceError(reasons[ticker]) for ticker in tickers if ticker in missing}
    validated = validate(rows, terms)
    return replace(validated, excluded=tuple(with_reason(out, missing, reasons) for out in validated.excluded))


def with_reason(out: Exclusion, missing: set[str], reasons: Mapping[str, str]) -> Exclusion:
    """Return the same with the reason why the ticker could not be updated, where it does not say so yet."""
    if out.ticker in missing or out.ticker not in reasons:
        return out
    return Exclusion(out.ticker, f"{out.reason}; {reasons[out.ticker]}")


def stale_of(refreshed: Sequence[UpdateResult], validated: ValidatedBars) -> tuple[Stale, ...]:
    """Return the accepted tickers that are not up to date, each once."""
    excluded = {out.ticker for out in validated.excluded}
    not_refreshed = [
        Stale(item.ticker, str(item.last_session), item.age_sessions or 0, item.reason)
        for item in refreshed
        if item.state in (UpdateState.BEHIND, UpdateState.NOT_REFRESHED) and item.ticker not in excluded
    ]
    by_ticker = {item.ticker: item for item in (*not_refreshed, *validated.stale)}
    return tuple(by_ticker.values())


def old_bars(validated: ValidatedBars, now: datetime) -> tuple[Stale, ...]:
    """Return the tickers whose stored bars end before their last completed session, where no update was requested."""
    excluded = {out.ticker for out in validated.excluded} | {stale.ticker for stale in validated.stale}
    last = validated.bars.frame.groupby("ticker")["session"].last()
    listings = [listing for listing in validated.bars.listings if listing.ticker not in excluded]
    days = {listing.ticker: last[listing.ticker].date() for listing in listings}
    ages = {listing.ticker: age_sessions(listing.calendar, days[listing.ticker], now) for listing in listings}
    reason = "no update was requested for newer bars than the store has"
    return tuple(Stale(ticker, str(days[ticker]), age, reason) for ticker, age in ages.items() if age)
