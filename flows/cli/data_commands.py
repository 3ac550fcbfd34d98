"""The commands of `tapecast data`: only an update that has something to request starts Prefect."""

from dataclasses import asdict
from datetime import UTC, date, datetime
from pathlib import Path

import pandas as pd

from flows.cli.commands import Call
from flows.cli.data_rendering import show_checked, show_exported, show_ingest, show_listed, show_one, show_pruned
from flows.cli.experiment_file import refuse_missing_file
from flows.cli.options import PriceFile, Wanted
from pipeline.errors import ExitStatus, NothingUsableError, UsageError
from pipeline.files import refuse_unwritable, write_whole
from pipeline.market.adjustment import View
from pipeline.market.files import write_prices
from pipeline.market.sources import open_source
from pipeline.market.specification import FilesSource, StoredSource, YahooSource
from pipeline.market.store.collection import collections, disk_use, find_collection
from pipeline.market.store.inventory import inventory, stored_ticker
from pipeline.market.store.pruning import prune as pruned
from pipeline.market.validation.report import CLEAN, status_counts
from pipeline.market.validation.validate import terms_for, validate
from pipeline.settings import Settings
from pipeline.workflow.ingest import IMPORTS, IngestResult, plan_from_yahoo, update_from_yahoo
from pipeline.workflow.result import json_rows
from pipeline.workflow.run_context import new_context
from pipeline.workflow.tickers import requested_tickers, spelled, tickers_of
from pipeline.workflow.validation import check_source, mismatch_rows, rows_by_ticker

LAST_BARS = 5


def update(call: Call, wanted: Wanted, file: PriceFile | None, collection: str | None, start: date | None) -> int:
    """Bring the store up to date; where it is already, no server is started and nothing requested."""
    source = source_of(file, collection, start)
    refuse_unwritable(Settings().root)
    current = current_state(source, wanted) if isinstance(source, YahooSource) else None
    if current:
        return call.finish(current, show_ingest)
    into = collection or IMPORTS
    return call.flow(lambda flows: flows.ingest(wanted.tickers, wanted.universe, source, into), show_ingest)


def source_of(file: PriceFile | None, collection: str | None, start: date | None) -> YahooSource | FilesSource:
    """Return where an update comes from; raises UsageError for options that belong to the other source."""
    if file is None:
        if collection is not None:
            raise UsageError(f"found --collection {collection} for prices from Yahoo, expected it with --path only")
        return YahooSource() if start is None else YahooSource(start=start)
    if start is not None:
        raise UsageError(f"found --start {start} with --path, expected it for prices from Yahoo only; leave it out")
    source = FilesSource(path=file.path, exchange=file.exchange)
    refuse_missing_file(source)
    return source


def current_state(source: YahooSource, wanted: Wanted) -> IngestResult | None:
    """Return the result of an update that has nothing to request; None where there is something."""
    context = new_context("ingest")
    planned = plan_from_yahoo(context, source, wanted.tickers, wanted.universe)
    return None if planned.plan.first_days else update_from_yahoo(context, planned)


def check(call: Call, wanted: Wanted, file: PriceFile | None, collection: str, out: Path | None) -> int:
    """Validate prices, print the report and write it as CSV."""
    settings, now = Settings(), datetime.now(UTC)
    source = stored_source(collection) if file is None else FilesSource(path=file.path, exchange=file.exchange)
    refuse_missing_file(source)
    checked = check_source(settings, source, tickers_of(settings, source, wanted.tickers, wanted.universe), now)
    path = out or settings.reports / f"{now:%Y-%m-%dT%H%M%S}-check" / "validation.csv"
    write_whole(path, checked.report.to_csv(index=False).encode())
    values = {
        "status": checked.status,
        "calendar_mismatches": mismatch_rows(checked.calendar_mismatches),
        "validation": status_counts(checked.report),
        "findings": json_rows(checked.report[checked.report["status"] != CLEAN]),
        "file": str(path),
    }
    call.prints(values, lambda console: show_checked(console, checked, path))
    return int(ExitStatus.PARTIAL if checked.status == "partial" else ExitStatus.OK)


def stored_source(name: str, as_known: datetime | None = None) -> StoredSource:
    """Return a collection of the store as a source; raises UsageError where there is none of that name."""
    return StoredSource(collection=find_collection(Settings().prices, name).name, as_known=as_known)


def list_held(call: Call, name: str | None) -> int:
    """List what the store holds and the disk space it takes."""
    root = Settings().prices
    chosen = collections(root) if name is None else (find_collection(root, name),)
    if not chosen:
        raise UsageError("the price store is empty; fetch some prices with `tapecast data update --tickers AAPL,MSFT`")
    held = [(collection, inventory(collection), disk_use(collection)) for collection in chosen]
    values = {stored.name: {"tickers": json_rows(in_text(table)), "disk": asdict(disk)} for stored, table, disk in held}
    call.prints(values, lambda console: show_listed(console, held))
    return int(ExitStatus.OK)


def in_text(table: pd.DataFrame) -> pd.DataFrame:
    """Return the inventory with days and times as text."""
    return table.assign(**{name: table[name].astype("str") for name in ("first_session", "last_session", "fetched_at")})


def show(call: Call, ticker: str, name: str, as_known: datetime | None) -> int:
    """Show one ticker: its file, its versions, its last bars."""
    held = find_collection(Settings().prices, name)
    ticker = spelled(stored_source(name), [ticker])[0]
    stored = stored_ticker(held, ticker, as_known)
    last = stored.rows.tail(LAST_BARS)
    values = {
        "ticker": ticker,
        "file": str(stored.path),
        "versions": [version.model_dump(mode="json") for version in stored.versions],
        "last_bars": json_rows(last.assign(session=last["session"].dt.strftime("%Y-%m-%d"))),
    }
    call.prints(values, lambda console: show_one(console, stored, last))
    return int(ExitStatus.OK)


def export(call: Call, wanted: Wanted, path: Path, view: View, place: tuple[str, datetime | None]) -> int:
    """Write checked bars of a place in the store, a collection as known at an instant or now, into one file."""
    source = stored_source(*place)
    opened = open_source(source, Settings().prices)
    names = requested_tickers(opened, tickers_of(Settings(), source, wanted.tickers, wanted.universe))
    terms = terms_for(opened, names, source.as_known or datetime.now(UTC), minimum_sessions=1)
    validated = validate(rows_by_ticker(opened, names), terms)
    if not validated.bars.listings:
        reasons = "; ".join(map(str, validated.excluded))
        raise NothingUsableError(f"nothing to export: {reasons}", validated.excluded)
    write_prices(validated.bars, view, path)
    mismatches = validated.calendar_mismatches
    values = {
        "calendar_mismatches": mismatch_rows(mismatches),
        "file": str(path),
        "rows": len(validated.bars.frame),
        "tickers": len(validated.bars.tickers),
        "excluded": [asdict(out) for out in validated.excluded],
    }
    call.prints(values, lambda console: show_exported(console, validated, path))
    return int(ExitStatus.PARTIAL if validated.excluded or mismatches else ExitStatus.OK)


def prune(call: Call, before: datetime, name: str) -> int:
    """Delete the versions that were known only before a day."""
    freed = pruned(find_collection(Settings().prices, name), before)
    call.prints(asdict(freed), lambda console: show_pruned(console, freed, before))
    return int(ExitStatus.PARTIAL if freed.refused else ExitStatus.OK)
