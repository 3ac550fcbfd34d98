"""The `tapecast ledger` commands: what was issued, how it was graded, and whether it is as it was written."""

import sys
from collections.abc import Callable
from datetime import date, datetime
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Annotated

import typer

from flows.cli.options import JsonOption

if TYPE_CHECKING:
    from flows.cli.commands import Call

ledger = typer.Typer(
    name="ledger",
    help="The ledger of issued forecasts: list, show, export, grades, verify, copy.",
    no_args_is_help=True,
)

DAILY = "daily"
NameOption = Annotated[str, typer.Option("--model", help="Model name that the forecasts were issued under.")]
SinceOption = Annotated[datetime | None, typer.Option(formats=["%Y-%m-%d"], help="First origin; default: all.")]
UntilOption = Annotated[datetime | None, typer.Option(formats=["%Y-%m-%d"], help="Last origin; default: all.")]


@ledger.command("list")
def list_entries(
    model: NameOption = DAILY,
    limit: Annotated[int, typer.Option(min=1, help="How many of the newest issues.")] = 20,
    as_json: JsonOption = False,
) -> None:
    """List the issues of a model name, newest first."""
    _call(as_json, lambda call: _commands().list_entries(call, model, limit))


@ledger.command()
def show(
    sequence: Annotated[int | None, typer.Argument(min=1, help="Which issue; default: the newest.")] = None,
    model: NameOption = DAILY,
    as_json: JsonOption = False,
) -> None:
    """Show one issue: where it comes from, and its published forecasts (with --json all rows)."""
    _call(as_json, lambda call: _commands().show(call, model, sequence))


@ledger.command()
def export(
    path: Annotated[Path, typer.Argument(help="Parquet or CSV file to write.")],
    model: NameOption = DAILY,
    since: SinceOption = None,
    until: UntilOption = None,
    as_json: JsonOption = False,
) -> None:
    """Write all rows into one file, with prices, and what came where that is graded."""
    days = (_day(since), _day(until))
    _call(as_json, lambda call: _commands().export(call, model, path, days))


@ledger.command()
def grades(
    model: NameOption = DAILY,
    by: Annotated[
        str, typer.Option(help="Groups, separated by commas: ticker, horizon, forecaster, version, calendar.")
    ] = "horizon,forecaster",
    since: SinceOption = None,
    as_json: JsonOption = False,
) -> None:
    """Print the record: losses and coverage of what was graded; late forecasts are counted by themselves."""
    groups = tuple(name.strip() for name in by.split(",") if name.strip())
    _call(as_json, lambda call: _commands().grades(call, model, groups, _day(since)))


@ledger.command()
def verify(model: NameOption = DAILY, as_json: JsonOption = False) -> None:
    """Compute the chain of digests again; exit status 1 where anything was altered, deleted, inserted or reordered."""
    _call(as_json, lambda call: _commands().verify(call, model))


@ledger.command()
def copy(as_json: JsonOption = False) -> None:
    """Copy the SQLite ledger of the home into the empty database that TAPECAST_LEDGER names."""
    _call(as_json, lambda call: _commands().copy(call))


def _day(at: datetime | None) -> date | None:
    return None if at is None else at.date()


def _call(as_json: bool, action: "Callable[[Call], int]") -> None:
    from flows.cli.commands import calling  # noqa: PLC0415  --help needs none of it

    sys.exit(calling(as_json, action))


def _commands() -> ModuleType:
    from flows.cli import ledger_commands  # noqa: PLC0415  brings pandas and SQLAlchemy

    return ledger_commands
