"""Ingest: bring the price store up to date from Yahoo, or import files into it, and report what was found."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import pandas as pd

from pipeline.errors import UsageError
from pipeline.market.files import open_files
from pipeline.market.importing import import_prices, terms_of
from pipeline.market.in_memory import InMemoryPrices
from pipeline.market.specification import YAHOO, FilesSource, YahooSource
from pipeline.market.store.collection import Collection, DiskUse, disk_use, open_collection, tickers
from pipeline.market.update import UpdatePlan, UpdateResult, UpdateState, plan_update
from pipeline.market.validation.report import CLEAN, REPORT_COLUMNS
from pipeline.workflow.loading import request_yahoo, yahoo_collection
from pipeline.workflow.result import JsonObject, json_rows
from pipeline.workflow.run_context import RunContext
from pipeline.workflow.tickers import tickers_of
from pipeline.workflow.validation import CheckedPrices, check_collection, mismatch_rows

SETTLED = (UpdateState.CURRENT, UpdateState.UPDATED, UpdateState.RESTATED)
IMPORTS = "files"
NOTHING_CHECKED = CheckedPrices(pd.DataFrame(columns=list(REPORT_COLUMNS)))


@dataclass(frozen=True, eq=False)
class IngestResult:
    """An update: the state of every ticker, what validation says of the requested ones, and the disk space used."""

    collection: str
    refreshed: tuple[UpdateResult, ...]
    checked: CheckedPrices
    disk: DiskUse
    seconds: dict[str, float] = field(default_factory=dict)

    @property
    def not_settled(self) -> tuple[UpdateResult, ...]:
        """The tickers that are missing, behind, or could not be refreshed."""
        return tuple(update for update in self.refreshed if update.state not in SETTLED)

    @property
    def validation(self) -> pd.DataFrame:
        """The validation report on the requested tickers that are stored."""
        return self.checked.report

    @property
    def findings(self) -> pd.DataFrame:
        """The rows of the validation report with a finding."""
        return self.validation[self.validation["status"] != CLEAN]

    @property
    def status(self) -> str:
        """Return "ok", or "partial" where a ticker is not up to date, is excluded, or does not fit its calendar."""
        return "partial" if self.not_settled else self.checked.status

    @property
    def unfinished(self) -> str:
        """Why a later try may do more: nothing could be refreshed, as of a source that refuses."""
        nothing = self.refreshed and len(self.not_settled) == len(self.refreshed)
        return f"no ticker could be refreshed: {self.not_settled[0].reason}" if nothing else ""

    @property
    def states(self) -> dict[str, int]:
        """How many tickers are in which state."""
        return dict(Counter(update.state.value for update in self.refreshed))

    def as_json(self) -> dict[str, Any]:
        """Return the object that --json prints; tickers without a finding are counted only."""
        restated = [update for update in self.refreshed if update.state is UpdateState.RESTATED]
        return {
            "status": self.status,
            "collection": self.collection,
            "calendar_mismatches": mismatch_rows(self.checked.calendar_mismatches),
            "states": self.states,
            "restated": [state_row(update) for update in restated],
            "not_up_to_date": [state_row(update) for update in self.not_settled],
            "validation": json_rows(self.findings),
            "disk": asdict(self.disk),
            "seconds": self.seconds,
        }

    def tables(self) -> Mapping[str, list[JsonObject]]:
        """Return the findings of the validation, and the tickers that are not up to date."""
        tables = {
            "validation": json_rows(self.findings),
            "not-up-to-date": [state_row(update) for update in self.not_settled],
        }
        return {name: rows for name, rows in tables.items() if rows}


def state_row(update: UpdateResult) -> JsonObject:
    """Return one ticker's state as plain values."""
    return {
        "ticker": update.ticker,
        "state": update.state.value,
        "last_session": None if update.last_session is None else str(update.last_session),
        "age_sessions": update.age_sessions,
        "added": update.added,
        "reason": update.reason,
    }


@dataclass(frozen=True)
class PlannedUpdate:
    """An update from Yahoo before anything is requested."""

    source: YahooSource
    collection: Collection
    plan: UpdatePlan


def ingest(
    context: RunContext,
    names: Sequence[str],
    universe: Path | None,
    source: YahooSource | FilesSource,
    collection: str = IMPORTS,
) -> IngestResult:
    """Bring the price store up to date: from Yahoo, or import files into the named collection.

    Without tickers or universe all that the store, or the files, hold.
    """
    if isinstance(source, YahooSource):
        with context.timer.stage("plan"):
            planned = plan_from_yahoo(context, source, names, universe)
        return update_from_yahoo(context, planned)
    named = tickers_of(context.settings, source, names, universe)
    with context.timer.stage("read"):
        prices = context.step(open_files, "read")(source.path, source.price_basis, source.exchange)
    return import_files(context, prices, named, collection)


def plan_from_yahoo(
    context: RunContext, source: YahooSource, names: Sequence[str], universe: Path | None
) -> PlannedUpdate:
    """Return what has to be requested from Yahoo for the tickers (none named: for all that the store holds)."""
    settings = context.settings
    stored = tickers(yahoo_collection(settings)) if (settings.prices / YAHOO).is_dir() else ()
    wanted = tickers_of(settings, source, names, universe) or stored
    if not wanted:
        raise UsageError("found no tickers in the store; name the first ones with --tickers AAPL,MSFT or --universe")
    collection = yahoo_collection(settings)
    return PlannedUpdate(source, collection, plan_update(collection, wanted, context.now, source.start))


def update_from_yahoo(context: RunContext, planned: PlannedUpdate) -> IngestResult:
    """Return the store's state after requesting from Yahoo what it lacks."""
    with context.timer.stage("request"):
        refreshed = request_yahoo(context, planned.source, planned.collection, planned.plan)
    requested = tuple(planned.plan.first_days)
    return _validated(context, planned.collection, refreshed, requested, planned.source.max_age_sessions)


def import_files(context: RunContext, prices: InMemoryPrices, names: Sequence[str], name: str) -> IngestResult:
    """Return the store's state after the tickers of files (none named: all) became versions of a collection."""
    if name == YAHOO:
        raise UsageError(f"found {YAHOO!r} as the name of an import, reserved for Yahoo's prices; choose another")
    wanted = tuple(dict.fromkeys(names)) or prices.tickers()
    collection = open_collection(context.settings.prices, name, terms_of(prices))
    with context.timer.stage("store"):
        refreshed = context.step(_imported, "store")(collection, prices, wanted, context.now)
    return _validated(context, collection, refreshed, wanted, None)


def _imported(collection: Collection, prices: Any, names: Sequence[str], now: datetime) -> tuple[UpdateResult, ...]:
    return tuple(import_prices(collection, prices, names, now))


def _validated(
    context: RunContext,
    collection: Collection,
    refreshed: tuple[UpdateResult, ...],
    requested: Sequence[str],
    max_age_sessions: int | None,
) -> IngestResult:
    """Return the update with the validation report on the requested tickers that are stored."""
    missing = {update.ticker for update in refreshed if update.state is UpdateState.MISSING}
    stored = [ticker for ticker in requested if ticker not in missing]
    checked = NOTHING_CHECKED
    if stored:
        with context.timer.stage("check"):
            check = context.step(check_collection, "check")
            checked = check(collection, stored, max_age_sessions, context.now)
    return IngestResult(collection.name, refreshed, checked, disk_use(collection), dict(context.timer.seconds))
