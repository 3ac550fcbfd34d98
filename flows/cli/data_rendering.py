"""What the `tapecast data` commands print to a terminal."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import datetime
from pathlib import Path

import pandas as pd
from rich.box import SIMPLE_HEAD
from rich.console import Console, JustifyMethod
from rich.markup import escape
from rich.table import Table

from flows.cli.rendering import show_wrong_calendars
from pipeline.market.bars import COLUMNS, ValidatedBars
from pipeline.market.store.collection import Collection, DiskUse
from pipeline.market.store.history import Version
from pipeline.market.store.inventory import StoredTicker
from pipeline.market.store.pruning import PruneResult
from pipeline.market.validation.report import CLEAN, EXCLUDED, status_counts
from pipeline.wording import count_of, counts_in_words, disk_in_words, exclusion_sentence
from pipeline.workflow.ingest import IngestResult
from pipeline.workflow.validation import CheckedPrices, mismatch_rows

MAX_SHOWN_ROWS = 40

INVENTORY_HEADINGS = {
    "ticker": "ticker",
    "sessions": "sessions",
    "first_session": "first",
    "last_session": "last",
    "currency": "currency",
    "versions": "versions",
    "size_kb": "kB",
}
VERSION_HEADINGS = {
    "known_at": "known at (UTC)",
    "last_session": "last",
    "added": "added",
    "restated": "restated",
    "removed": "removed",
    "kinds": "restated since",
}

CollectionInventory = tuple[Collection, pd.DataFrame, DiskUse]


def show_ingest(console: Console, result: IngestResult) -> None:
    """Print what an update did, and what is not as it should be; first a calendar that does not fit."""
    show_wrong_calendars(console, mismatch_rows(result.checked.calendar_mismatches))
    states = counts_in_words(result.states) or "nothing to update"
    console.print(f"[bold]{escape(result.collection)}[/bold]: {states}")
    for update in result.refreshed:
        if update.reason and update in result.not_settled:
            console.print(f"[yellow]{update.state.value}[/yellow] {escape(update.ticker)}: {escape(update.reason)}")
        elif update.reason:
            console.print(f"{update.state.value} {escape(update.ticker)}: {escape(update.reason)}")
    if len(result.validation):
        print_findings(console, result.validation)
    console.print(f"The store: {disk_in_words(**asdict(result.disk))}", style="dim")


def show_checked(console: Console, checked: CheckedPrices, path: Path) -> None:
    """Print a calendar that does not fit, the findings, and where all of them were written."""
    show_wrong_calendars(console, mismatch_rows(checked.calendar_mismatches))
    print_findings(console, checked.report)
    console.print(f"Validation  {path}", soft_wrap=True)


def print_findings(console: Console, table: pd.DataFrame) -> None:
    """Print how many tickers have which status, and the findings."""
    console.print(f"Validation: {counts_in_words(status_counts(table)) or 'nothing checked'}")
    findings = table[table["status"] != CLEAN]
    for row in findings.head(MAX_SHOWN_ROWS).to_dict("records"):
        colour = "red" if row["status"] == EXCLUDED else "yellow" if row["severity"] != "noted" else "default"
        what = f"{row['rule']}, {row['severity']}, {count_of(row['rows'], 'row')}"
        finding = f"{row['since']}: found {row['found']}, expected {row['expected']}"
        console.print(f"[{colour}]{escape(row['ticker'])}[/{colour}] [dim]{escape(what)}[/dim] {escape(finding)}")
    if len(findings) > MAX_SHOWN_ROWS:
        console.print(
            f"{len(findings) - MAX_SHOWN_ROWS:,} more findings; --json and the file show them all", style="dim"
        )


def show_listed(console: Console, held: Sequence[CollectionInventory]) -> None:
    """Print what each collection holds."""
    for collection, table, disk in held:
        console.print(f"[bold]{escape(collection.name)}[/bold]  {escape(collection.terms.note)}")
        faults = table[table["fault"] != ""]
        console.print(
            plain_table(table.assign(size_kb=(table["size_bytes"] / 1e3).round().astype(int)), INVENTORY_HEADINGS)
        )
        for ticker, fault in zip(faults["ticker"], faults["fault"], strict=True):
            console.print(f"[yellow]damaged[/yellow] {escape(ticker)}: {escape(fault)}")
        console.print(f"{disk_in_words(**asdict(disk))}  in {collection.folder}", style="dim", soft_wrap=True)


def show_one(console: Console, stored: StoredTicker, last: pd.DataFrame) -> None:
    """Print a ticker's versions and its last bars."""
    console.print(f"[bold]{escape(stored.ticker)}[/bold]  {stored.path}", soft_wrap=True)
    console.print(
        f"{count_of(len(stored.versions), 'version')}, {len(stored.rows):,} sessions, {stored.versions[-1].currency}"
    )
    console.print(plain_table(versions_in_words(stored.versions[-MAX_SHOWN_ROWS:]), VERSION_HEADINGS))
    for problem in dict.fromkeys(problem for version in stored.versions for problem in version.problems):
        console.print(f"{problem.severity.value}: {escape(str(problem))}")
    bars = last.assign(session=last["session"].dt.strftime("%Y-%m-%d"))
    console.print(plain_table(bars, {name: name for name in ("session", *COLUMNS[2:]) if name != "adj_close"}))


def versions_in_words(versions: Sequence[Version]) -> pd.DataFrame:
    """Return a row per version, columns VERSIONS."""
    rows = [
        (
            f"{version.known_at:%Y-%m-%d %H:%M:%S}",
            str(version.last_session),
            version.added,
            version.restated,
            version.removed,
            ", ".join(f"{it.kind} since {it.first_session}" for it in version.restatements),
        )
        for version in versions
    ]
    return pd.DataFrame(rows, columns=list(VERSION_HEADINGS))


def show_exported(console: Console, validated: ValidatedBars, path: Path) -> None:
    """Print how much was written, and what was not."""
    show_wrong_calendars(console, mismatch_rows(validated.calendar_mismatches))
    rows, tickers = len(validated.bars.frame), len(validated.bars.tickers)
    console.print(f"{rows:,} rows of {count_of(tickers, 'ticker')} written to {path}", soft_wrap=True)
    for out in validated.excluded:
        console.print(exclusion_sentence(f"[yellow]{escape(out.ticker)}[/yellow]", escape(out.reason)))


def show_pruned(console: Console, freed: PruneResult, before: datetime) -> None:
    """Print what pruning gave up."""
    console.print(
        f"{count_of(freed.versions, 'version')} and {count_of(freed.rows, 'superseded row')} given up, "
        f"{freed.freed_bytes / 1e6:.1f} MB freed; prices as known before {before:%Y-%m-%d} can no longer be had"
    )
    for ticker, reason in freed.refused:
        console.print(f"[yellow]not pruned[/yellow] {escape(ticker)}: {escape(reason)}")


def cell_in_words(cell: object) -> str:
    """Return a cell as text: whole numbers in full, others in six digits."""
    if isinstance(cell, float):
        return f"{cell:,.0f}" if cell.is_integer() else f"{cell:,.6g}"
    return escape(f"{cell:,}" if isinstance(cell, int) else str(cell))


def plain_table(frame: pd.DataFrame, columns: Mapping[str, str]) -> Table:
    """Return the first rows of a frame as a table; `columns` gives each column's heading, the last one may wrap."""
    table = Table(box=SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    for name, heading in columns.items():
        justify: JustifyMethod = "right" if frame[name].dtype.kind in "iuf" else "left"
        table.add_column(heading, justify=justify, no_wrap=name != list(columns)[-1], overflow="fold")
    for row in frame[list(columns)].head(MAX_SHOWN_ROWS).itertuples(index=False):
        table.add_row(*map(cell_in_words, row))
    if len(frame) > MAX_SHOWN_ROWS:
        table.caption = f"{len(frame) - MAX_SHOWN_ROWS:,} more rows; --json shows them all"
    return table
