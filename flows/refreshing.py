"""Bringing the store up to date from Yahoo, as a Prefect task; nobody is asked for what is known."""

from collections.abc import Sequence
from datetime import datetime

from flows.tasks import as_task
from pipeline.market.fetched import Remote
from pipeline.market.specification import YAHOO, YahooSource
from pipeline.market.store.collection import Collection, open_collection
from pipeline.market.update import YAHOO_TERMS, Plan, Refreshed, plan_update, refresh
from pipeline.settings import Settings
from pipeline.wording import count_of


def yahoo_collection(settings: Settings) -> Collection:
    """Return the collection that Yahoo's prices are kept in."""
    return open_collection(settings.prices, YAHOO, YAHOO_TERMS)


def refresh_yahoo(
    settings: Settings, source: YahooSource, tickers: Sequence[str], now: datetime
) -> tuple[Refreshed, ...]:
    """Return how each ticker stands after Yahoo was asked for what the store lacks."""
    collection = yahoo_collection(settings)
    return ask_yahoo(settings, source, collection, plan_update(collection, tickers, now, source.start))


def ask_yahoo(settings: Settings, source: YahooSource, collection: Collection, plan: Plan) -> tuple[Refreshed, ...]:
    """Return how each ticker of a plan stands after Yahoo was asked for the rest."""
    if not plan.asked:
        return plan.settled
    from pipeline.market.yahoo.client import YahooClient  # noqa: PLC0415  brings yfinance: a second of imports

    client = YahooClient(source.start, cache_dir=settings.cache)
    asked = as_task(ask, f"ask Yahoo for {count_of(len(plan.asked), 'ticker')}")(collection, client, plan)
    return (*plan.settled, *asked)


def ask(collection: Collection, remote: Remote, plan: Plan) -> tuple[Refreshed, ...]:
    """Return how each asked ticker stands after its answer was stored."""
    return tuple(refresh(collection, remote, plan))
