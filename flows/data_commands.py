"""The commands of `tapecast data`: only an update that has something to ask for starts Prefect."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, replace
from datetime import UTC, date, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from flows.commands import Call, refuse_missing_file
from flows.data_terminal import show_checked, show_exported, show_ingested, show_listed, show_one, show_pruned
from flows.options import Wanted
from pipeline.errors import ExitStatus, NothingUsableError, UsageError
from pipeline.files import refuse_unwritable, write_whole
from pipeline.market.adjustment import View
from pipeline.market.door import admit
from pipeline.market.export import write_prices
from pipeline.market.files import open_files
from pipeline.market.source import open_source
from pipeline.market.specification import FilesSource, StoredSource, YahooSource
from pipeline.market.store.collection import collections, disk_use
from pipeline.market.store.inventory import inventory, shown
from pipeline.market.store.opening import find_collection
from pipeline.market.store.pruning import prune as pruned
from pipeline.market.verdicts import LEFT_OUT, SOUND, counts
from pipeline.settings import Settings
from pipeline.workflow.ingest import IMPORTS, Ingested, plan_from_yahoo, records, update_from_yahoo
from pipeline.workflow.progress import Quiet, Stopwatch
from pipeline.workflow.tickers import spelled, tickers_of, wanted_of
from pipeline.workflow.validation import check_source, door_terms, found_rows

if TYPE_CHECKING:
    from flows.terminal import TerminalWatch

LAST_BARS = 5


def update(call: Call, wanted: Wanted, path: Path | None, collection: str | None, start: date | None) -> int:
    """Bring the store up to date; where it is already, nothing is started and nobody asked."""
    source = source_of(path, collection, start)
    refuse_unwritable(Settings().root)
    known = settled(source, wanted) if isinstance(source, YahooSource) else None
    if known:
        return _tell_ingested(call, known)

    with ThreadPoolExecutor(1) as pool:
        ahead = pool.submit(open_files, source.path, source.price_basis) if isinstance(source, FilesSource) else None

        def run(watch: "TerminalWatch") -> Ingested:
            from flows.ingest import build_ingest  # noqa: PLC0415  brings Prefect, after its environment is set

            # files are read while Prefect starts
            ingest = build_ingest(watch, lambda *_: ahead.result()) if ahead else build_ingest(watch)
            return ingest(wanted.tickers, wanted.universe, source, collection or IMPORTS)

        result, before = call.under_prefect(run)
    return _tell_ingested(call, replace(result, seconds={**before, **result.seconds}))


def source_of(path: Path | None, collection: str | None, start: date | None) -> YahooSource | FilesSource:
    """Return where an update comes from; raises UsageError for options that belong to the other source."""
    if path is None:
        if collection is not None:
            raise UsageError(f"found --collection {collection} for prices from Yahoo, expected it with --path only")
        return YahooSource() if start is None else YahooSource(start=start)
    if start is not None:
        raise UsageError(f"found --start {start} with --path, expected it for prices from Yahoo only; leave it out")
    source = FilesSource(path=path)
    refuse_missing_file(source)
    return source


def settled(source: YahooSource, wanted: Wanted) -> Ingested | None:
    """Return the update that has nothing to ask for; None where there is something."""
    settings = Settings()
    planned = plan_from_yahoo(settings, source, wanted.tickers, wanted.universe, datetime.now(UTC))
    return None if planned.plan.asked else update_from_yahoo(settings, planned, Stopwatch(Quiet()))


def _tell_ingested(call: Call, result: Ingested) -> int:
    call.tells(result.as_json(), lambda console: show_ingested(console, result))
    return int(ExitStatus.PARTIAL if result.status == "partial" else ExitStatus.OK)


def check(call: Call, wanted: Wanted, files: Path | None, collection: str, out: Path | None) -> int:
    """Hold prices against the contract, print the verdicts and write them as CSV."""
    settings, now = Settings(), datetime.now(UTC)
    source = stored_source(collection) if files is None else FilesSource(path=files)
    refuse_missing_file(source)
    table = check_source(settings, source, tickers_of(settings, source, wanted.tickers, wanted.universe), now)
    path = out or settings.reports / f"{now:%Y-%m-%dT%H%M%S}-check" / "verdicts.csv"
    write_whole(path, table.to_csv(index=False).encode())
    status = "partial" if (table["verdict"] == LEFT_OUT).any() else "ok"
    findings = table[table["verdict"] != SOUND]
    values = {"status": status, "verdicts": counts(table), "findings": records(findings), "file": str(path)}
    call.tells(values, lambda console: show_checked(console, table, path))
    return int(ExitStatus.PARTIAL if status == "partial" else ExitStatus.OK)


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
    values = {one.name: {"tickers": records(in_text(table)), "disk": asdict(disk)} for one, table, disk in held}
    call.tells(values, lambda console: show_listed(console, held))
    return int(ExitStatus.OK)


def in_text(table: pd.DataFrame) -> pd.DataFrame:
    """Return the inventory with days and times as text."""
    return table.assign(**{name: table[name].astype("str") for name in ("first_session", "last_session", "fetched_at")})


def show(call: Call, ticker: str, name: str, as_known: datetime | None) -> int:
    """Show one ticker: its file, its versions, its last bars."""
    held = find_collection(Settings().prices, name)
    ticker = spelled(stored_source(name), [ticker])[0]
    one = shown(held, ticker, as_known)
    last = one.rows.tail(LAST_BARS)
    values = {
        "ticker": ticker,
        "file": str(one.path),
        "versions": [version.model_dump(mode="json") for version in one.versions],
        "last_bars": records(last.assign(session=last["session"].dt.strftime("%Y-%m-%d"))),
    }
    call.tells(values, lambda console: show_one(console, one, last))
    return int(ExitStatus.OK)


def export(call: Call, wanted: Wanted, path: Path, view: View, place: tuple[str, datetime | None]) -> int:
    """Write checked bars of a place in the store, a collection as known at an instant or now, into one file."""
    source = stored_source(*place)
    opened = open_source(source, Settings().prices)
    names = wanted_of(opened, tickers_of(Settings(), source, wanted.tickers, wanted.universe))
    terms = door_terms(opened, source.as_known or datetime.now(UTC), minimum_sessions=1)
    admitted = admit(found_rows(opened, names), terms)
    if not admitted.bars.listings:
        reasons = "; ".join(f"{out.ticker}: {out.reason}" for out in admitted.left_out)
        raise NothingUsableError(f"nothing to export: {reasons}", admitted.left_out)
    write_prices(admitted.bars, view, path)
    values = {
        "file": str(path),
        "rows": len(admitted.bars.frame),
        "tickers": len(admitted.bars.tickers),
        "left_out": [asdict(out) for out in admitted.left_out],
    }
    call.tells(values, lambda console: show_exported(console, admitted, path))
    return int(ExitStatus.PARTIAL if admitted.left_out else ExitStatus.OK)


def prune(call: Call, before: datetime, name: str) -> int:
    """Give up what was known before a day."""
    freed = pruned(find_collection(Settings().prices, name), before)
    call.tells(asdict(freed), lambda console: show_pruned(console, freed, before))
    return int(ExitStatus.PARTIAL if freed.refused else ExitStatus.OK)
