"""The command `tapecast prune`: lifetimes from options, and what went as a table."""

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from flows.cli.options import JsonOption

if TYPE_CHECKING:
    from rich.console import Console

    from flows.cli.commands import Call
    from pipeline.operation.lifetimes import Lifetimes
    from pipeline.workflow.prune_result import PruneResult

KeepOption = Annotated[
    int | None,
    typer.Option("--keep-days", min=2, help="What ledger entries of so many days need stays.  [default: 365]"),
]
LifetimeOption = Annotated[
    list[str] | None,
    typer.Option(
        "--lifetime",
        metavar="KIND=DAYS",
        help="Another lifetime of reports, day_files, mlflow_runs, fits, versions, states, leftovers or flow_runs.",
    ),
]


def prune(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would go, and remove nothing.")] = False,
    keep_days: KeepOption = None,
    lifetime: LifetimeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Remove what has outlived its lifetime, keep what the ledger's last entries need, and say what was freed."""
    from flows.cli.commands import calling  # noqa: PLC0415  --help needs none of it

    sys.exit(calling(as_json, lambda call: _prune(call, lifetimes_of(keep_days, lifetime or []), dry_run)))


def lifetimes_of(keep_days: int | None, changed: list[str]) -> "Lifetimes":
    """Return the default lifetimes with those that KIND=DAYS changes; raises UsageError for what is none."""
    from pydantic import ValidationError  # noqa: PLC0415

    from pipeline.errors import UsageError  # noqa: PLC0415
    from pipeline.operation.lifetimes import Lifetimes  # noqa: PLC0415

    values = {f"{kind}_days": days for kind, _, days in (text.partition("=") for text in changed)}
    kept = {} if keep_days is None else {"ledger_days": keep_days}
    try:
        return Lifetimes.model_validate({**values, **kept})
    except ValidationError as error:
        kinds = ", ".join(name.removesuffix("_days") for name in Lifetimes.model_fields)
        raise UsageError(
            f"found the lifetimes {', '.join(changed)}, expected KIND=DAYS with at least 2 days and one of: {kinds}"
        ) from error


def _prune(call: "Call", lifetimes: "Lifetimes", dry_run: bool) -> int:
    from functools import partial  # noqa: PLC0415

    from flows.environment import prepare_environment  # noqa: PLC0415
    from flows.flow_runs import prune_in_home  # noqa: PLC0415
    from pipeline.settings import Settings  # noqa: PLC0415

    settings = Settings()
    prepare_environment(settings.root)  # before MLflow and Prefect are imported
    from pipeline.workflow.prune import prune as remove_expired  # noqa: PLC0415
    from pipeline.workflow.run_context import new_context  # noqa: PLC0415

    with call.console.status("removing"):
        result = remove_expired(new_context("prune"), lifetimes, dry_run, partial(prune_in_home, settings))
    return call.finish(result, show_pruned)


def show_pruned(console: "Console", result: "PruneResult") -> None:
    """Print a row per kind, what went in all, and why something did not."""
    from rich.markup import escape  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415

    table = Table()
    table.add_column("kind", no_wrap=True)
    table.add_column("would go" if result.dry_run else "removed", justify="right")
    table.add_column("MB", justify="right")
    for it in result.removed:
        table.add_row(it.kind, f"{it.count:,}", f"{it.freed_bytes / 1e6:,.1f}")
    console.print(table)
    for note in (f"{it.kind}: {it.note}" for it in result.removed if it.note):
        console.print(escape(note), style="dim")
    for warning in result.warnings:
        console.print(f"[yellow]not removed[/yellow] {escape(warning)}")
    console.print(escape(f"{result.sentence}."))
