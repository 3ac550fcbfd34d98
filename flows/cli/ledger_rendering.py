"""What the `tapecast ledger` commands print to a terminal."""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd
from rich.console import Console
from rich.markup import escape

from flows.cli.data_rendering import plain_table
from pipeline.forecasting.forecasts import QUANTILE_COLUMNS
from pipeline.wording import count_of, percent
from pipeline.workflow.ledger import LedgerCheck
from pipeline.workflow.ledger_copy import LedgerCopy
from pipeline.workflow.result import JsonObject

ENTRY_HEADINGS = {
    "sequence": "issue",
    "last_origin": "as of",
    "issued_at": "issued at (UTC)",
    "calendar": "calendar",
    "version": "version",
    "rows": "rows",
    "digest": "digest",
}
DETAILS = ("calendar", "version", "known_at", "price_basis", "code_version", "cpu_capability", "run_id", "digest")
LOSSES = {"pinball": 1e4, "crps": 1e4, "mae_return": 1e4, "mean_error": 1e4}
"""Columns shown in basis points of log return."""


def show_entries(console: Console, rows: Sequence[JsonObject]) -> None:
    """Print a line per entry."""
    table = pd.DataFrame(rows)
    short = table.assign(digest=table["digest"].str[:12], issued_at=table["issued_at"].str[:19].str.replace("T", " "))
    console.print(plain_table(short, ENTRY_HEADINGS))


def show_entry(console: Console, entry: JsonObject, rows: pd.DataFrame) -> None:
    """Print where an entry comes from, the backtest behind it, and its published forecasts in prices."""
    console.print(f"[bold]{escape(entry['model'])} {entry['sequence']}[/bold]  issued at {entry['issued_at']}")
    for name in DETAILS:
        console.print(f"[dim]{name.replace('_', ' ')}[/dim]  {escape(str(entry[name]))}", soft_wrap=True)
    if backtest := entry["backtest"]:
        console.print(f"[dim]backtest of {backtest['date']}[/dim]  {escape(backtest['verdict'])}", soft_wrap=True)
    published = rows[rows["published"]]
    days = {name: published[name].dt.strftime("%Y-%m-%d") for name in ("as_of", "target_session")}
    prices = {name: published[name].map("{:.2f}".format) for name in ("reference_close", *QUANTILE_COLUMNS)}
    names = ("ticker", "as_of", "target_session", "forecaster", "status", "reference_close", *QUANTILE_COLUMNS)
    console.print(plain_table(published.assign(**days, **prices), {name: name.replace("_", " ") for name in names}))


def show_export(console: Console, rows: int, path: Path) -> None:
    """Print how much was written."""
    console.print(f"{count_of(rows, 'row')} written to {path}", soft_wrap=True)


def show_record(console: Console, model: str, record: pd.DataFrame) -> None:
    """Print the record; losses in basis points."""
    if record.empty:
        console.print(f"no forecast of {escape(model)} is graded yet")
        return
    losses = {name: (record[name] * factor).map("{:.2f}".format) for name, factor in LOSSES.items()}
    names = [str(name) for name in record]
    shares = {name: record[name].map(percent) for name in names if name.startswith("coverage_")}
    console.print(plain_table(record.assign(**losses, **shares), {name: name.replace("_", " ") for name in names}))
    console.print("Losses x 1e4 of log return, as first graded.", style="dim")


def show_check(console: Console, found: LedgerCheck) -> None:
    """Print whether the chain is as it was written, and what it was compared with."""
    it = found.verification
    extent = f"{count_of(it.entries, 'issue')}, {count_of(it.rows, 'row')}"
    if it.fault is None:
        console.print(f"[green]as written[/green] {escape(it.model)}: {extent}, digest {it.head[:12]}")
    else:
        console.print(
            f"[red]not as written[/red] {escape(it.model)}, issue {it.fault.sequence}: {escape(it.fault.sentence)}",
            soft_wrap=True,
        )
    for place, count in found.noted.items():
        console.print(f"compared with {count_of(count, 'digest')} in {escape(place)}", style="dim", soft_wrap=True)
    if found.not_compared:
        console.print(f"[yellow]not compared with MLflow[/yellow]: {escape(found.not_compared)}", soft_wrap=True)


def show_copy(console: Console, found: LedgerCopy) -> None:
    """Print the verification of each chain that was copied, and where to."""
    for check in found.checks:
        show_check(console, check)
    rows = f"{count_of(sum(found.rows.values()), 'row')} copied" if found.rows else "nothing copied, as it has all"
    console.print(f"{escape(found.target)}: {rows} of {escape(found.source)}", soft_wrap=True)
