"""Bringing the price store up to date, and what came of it."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import pandas as pd

from flows.tasks import as_task
from pipeline.errors import UsageError
from pipeline.market.held import HeldPrices
from pipeline.market.importing import import_prices, terms_of
from pipeline.market.specification import YAHOO, YahooSource
from pipeline.market.store.collection import Collection, DiskUse, disk_use, open_collection, tickers
from pipeline.market.update import Plan, Refreshed, State, plan_update
from pipeline.market.verdicts import COLUMNS, LEFT_OUT, SOUND
from pipeline.settings import Settings
from pipeline.workflow.loading import ask_yahoo, yahoo_collection
from pipeline.workflow.progress import Stopwatch
from pipeline.workflow.result import plain
from pipeline.workflow.tickers import tickers_of
from pipeline.workflow.validation import check_collection

SETTLED = (State.CURRENT, State.UPDATED, State.RESTATED)
IMPORTS = "files"
NO_VERDICTS = pd.DataFrame(columns=list(COLUMNS))


@dataclass(frozen=True, eq=False)
class Ingested:
    """An update: how every ticker stands, the verdicts on those that were asked for, and the disk space taken."""

    collection: str
    refreshed: tuple[Refreshed, ...]
    verdicts: pd.DataFrame
    disk: DiskUse
    seconds: dict[str, float] = field(default_factory=dict)

    @property
    def not_settled(self) -> tuple[Refreshed, ...]:
        """The tickers that are missing, behind, or could not be refreshed."""
        return tuple(one for one in self.refreshed if one.state not in SETTLED)

    @property
    def status(self) -> str:
        """Return "ok", or "partial" where a ticker is not up to date or does not meet the contract."""
        return "partial" if self.not_settled or (self.verdicts["verdict"] == LEFT_OUT).any() else "ok"

    @property
    def states(self) -> dict[str, int]:
        """How many tickers stand how."""
        return dict(Counter(one.state.value for one in self.refreshed))

    def as_json(self) -> dict[str, Any]:
        """Return the object that --json prints; tickers with nothing to tell are counted only."""
        findings = self.verdicts[self.verdicts["verdict"] != SOUND]
        restated = [one for one in self.refreshed if one.state is State.RESTATED]
        return {
            "status": self.status,
            "collection": self.collection,
            "states": self.states,
            "restated": [row_of(one) for one in restated],
            "not_up_to_date": [row_of(one) for one in self.not_settled],
            "verdicts": records(findings),
            "disk": asdict(self.disk),
            "seconds": self.seconds,
        }


def records(table: pd.DataFrame) -> list[dict[str, Any]]:
    """Return a table's rows as plain values."""
    return [{str(name): plain(value) for name, value in row.items()} for row in table.to_dict("records")]


def row_of(one: Refreshed) -> dict[str, Any]:
    """Return one ticker's state as plain values."""
    return {
        "ticker": one.ticker,
        "state": one.state.value,
        "last_session": None if one.last_session is None else str(one.last_session),
        "age_sessions": one.age_sessions,
        "added": one.added,
        "reason": one.reason,
    }


@dataclass(frozen=True)
class Planned:
    """An update from Yahoo before anybody is asked."""

    source: YahooSource
    collection: Collection
    plan: Plan


def plan_from_yahoo(
    settings: Settings, source: YahooSource, names: Sequence[str], universe: Path | None, now: datetime
) -> Planned:
    """Return what Yahoo has to be asked of the tickers (none named: of all that the store holds)."""
    held = tickers(yahoo_collection(settings)) if (settings.prices / YAHOO).is_dir() else ()
    wanted = tickers_of(settings, source, names, universe) or held
    if not wanted:
        raise UsageError("found no tickers in the store; name the first ones with --tickers AAPL,MSFT or --universe")
    collection = yahoo_collection(settings)
    return Planned(source, collection, plan_update(collection, wanted, now, source.start))


def update_from_yahoo(settings: Settings, planned: Planned, clock: Stopwatch) -> Ingested:
    """Return the store after Yahoo was asked for what it lacks."""
    with clock.stage("ask"):
        refreshed = ask_yahoo(settings, planned.source, planned.collection, planned.plan)
    limit, asked = planned.source.most_age_sessions, tuple(planned.plan.asked)
    return _checked(planned.collection, refreshed, asked, limit, planned.plan.now, clock)


def import_files(
    settings: Settings, prices: HeldPrices, names: Sequence[str], name: str, now: datetime, clock: Stopwatch
) -> Ingested:
    """Return the store after the tickers of files (none named: all) became versions of a collection."""
    if name == YAHOO:
        raise UsageError(f"found {YAHOO!r} as the name of an import, which is kept for Yahoo's prices; choose another")
    wanted = tuple(dict.fromkeys(names)) or prices.tickers()
    collection = open_collection(settings.prices, name, terms_of(prices))
    with clock.stage("store"):
        refreshed = as_task(_imported, "store")(collection, prices, wanted, now)
    return _checked(collection, refreshed, wanted, None, now, clock)


def _imported(collection: Collection, prices: Any, names: Sequence[str], now: datetime) -> tuple[Refreshed, ...]:
    return tuple(import_prices(collection, prices, names, now))


def _checked(
    collection: Collection,
    refreshed: tuple[Refreshed, ...],
    asked: Sequence[str],
    most_age_sessions: int | None,
    now: datetime,
    clock: Stopwatch,
) -> Ingested:
    """Return the update with verdicts on the tickers that were asked for and are there."""
    missing = {one.ticker for one in refreshed if one.state is State.MISSING}
    there = [ticker for ticker in asked if ticker not in missing]
    if not there:
        return Ingested(collection.name, refreshed, NO_VERDICTS, disk_use(collection), dict(clock.seconds))
    with clock.stage("check"):
        table = as_task(check_collection, "check")(collection, there, most_age_sessions, now)
    return Ingested(collection.name, refreshed, table, disk_use(collection), dict(clock.seconds))
