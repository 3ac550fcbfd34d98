"""The `tapecast data` commands: the price store on the command line."""

import sys
from collections.abc import Callable
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Annotated

import typer

from flows.cli.options import (
    AsKnownOption,
    ExchangeOption,
    JsonOption,
    PathOption,
    TickersOption,
    UniverseOption,
    file_named,
    instant,
    wanted_by,
)

if TYPE_CHECKING:
    from flows.cli.commands import Call

data = typer.Typer(name="data", help="The price store: fetch, check, list, show, export, prune.", no_args_is_help=True)


class ViewChoice(StrEnum):
    """How exported prices are adjusted."""

    AS_TRADED = "as_traded"
    SPLIT_ADJUSTED = "split_adjusted"
    TOTAL_RETURN = "total_return"


CollectionOption = Annotated[str, typer.Option(help="Which part of the store: yahoo, or the name given to an import.")]
ImportOption = Annotated[str | None, typer.Option("--collection", help="Name of the import; default: files.")]
ListedCollectionOption = Annotated[str | None, typer.Option("--collection", help="List this part of the store alone.")]
StartOption = Annotated[
    datetime | None, typer.Option(formats=["%Y-%m-%d"], help="First session wanted; default: 2000.")
]
BeforeOption = Annotated[datetime, typer.Option(formats=["%Y-%m-%d"], help="Versions known only earlier are deleted.")]
ReportOption = Annotated[
    Path | None, typer.Option(help="CSV file for the validation report; default: under TAPECAST_HOME.")
]


@data.command()
def update(
    tickers: TickersOption = None,
    universe: UniverseOption = None,
    path: PathOption = None,
    exchange: ExchangeOption = None,
    collection: ImportOption = None,
    start: StartOption = None,
    as_json: JsonOption = False,
) -> None:
    """Bring the store up to date from Yahoo, or with --path import a file or folder into it."""
    wanted, first = wanted_by(tickers, universe), None if start is None else start.date()
    file = file_named(path, exchange)
    _call(as_json, lambda call: _commands().update(call, wanted, file, collection, first))


@data.command()
def check(
    tickers: TickersOption = None,
    universe: UniverseOption = None,
    path: PathOption = None,
    exchange: ExchangeOption = None,
    collection: CollectionOption = "yahoo",
    out: ReportOption = None,
    as_json: JsonOption = False,
) -> None:
    """Validate stored prices, or with --path a file; exit status 3 where a ticker is excluded or a calendar wrong."""
    wanted, file = wanted_by(tickers, universe), file_named(path, exchange)
    _call(as_json, lambda call: _commands().check(call, wanted, file, collection, out))


@data.command("list")
def list_held(collection: ListedCollectionOption = None, as_json: JsonOption = False) -> None:
    """List what the store holds, how old it is, and the disk space it takes."""
    _call(as_json, lambda call: _commands().list_held(call, collection))


@data.command()
def show(
    ticker: Annotated[str, typer.Argument(help="Which ticker.")],
    collection: CollectionOption = "yahoo",
    as_known: AsKnownOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show one ticker: its versions, what was restated, its last bars."""
    known = instant(as_known)
    _call(as_json, lambda call: _commands().show(call, ticker, collection, known))


@data.command()
def export(
    path: Annotated[Path, typer.Argument(help="Parquet or CSV file to write; `run --path` reads it again.")],
    tickers: TickersOption = None,
    universe: UniverseOption = None,
    collection: CollectionOption = "yahoo",
    view: Annotated[ViewChoice, typer.Option(help="How prices are adjusted.")] = ViewChoice.AS_TRADED,
    as_known: AsKnownOption = None,
    as_json: JsonOption = False,
) -> None:
    """Write checked prices of the store into one file."""
    wanted = wanted_by(tickers, universe)
    known = instant(as_known)
    _call(as_json, lambda call: _commands().export(call, wanted, path, view.value, (collection, known)))


@data.command()
def prune(before: BeforeOption, collection: CollectionOption = "yahoo", as_json: JsonOption = False) -> None:
    """Delete old versions: prices as known before that day can then no longer be read."""
    at = before.replace(tzinfo=UTC)
    _call(as_json, lambda call: _commands().prune(call, at, collection))


def _call(as_json: bool, action: "Callable[[Call], int]") -> None:
    from flows.cli.commands import calling  # noqa: PLC0415  --help needs none of it

    sys.exit(calling(as_json, action))


def _commands() -> ModuleType:
    from flows.cli import data_commands  # noqa: PLC0415  brings pandas

    return data_commands
