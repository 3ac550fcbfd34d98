"""The `tapecast model` commands: the versions of published models on the command line."""

import sys
from collections.abc import Callable
from types import ModuleType
from typing import TYPE_CHECKING, Annotated

import typer

from flows.cli.options import JsonOption

if TYPE_CHECKING:
    from flows.cli.commands import Call

model = typer.Typer(
    name="model", help="Versions of published models: list, show, promote, rollback, prune.", no_args_is_help=True
)

NameOption = Annotated[
    str | None, typer.Option("--model", help="Name of the model; default: the one that `tapecast forecast` uses.")
]
ListedOption = Annotated[str | None, typer.Option("--model", help="List this model alone; default: all.")]
VersionArgument = Annotated[str, typer.Argument(help="Its number, champion or previous.")]


@model.command("list")
def list_versions(name: ListedOption = None, as_json: JsonOption = False) -> None:
    """List the versions of every model, and which of them forecasts."""
    _call(as_json, lambda call: _commands().list_versions(call, name))


@model.command()
def show(version: VersionArgument = "champion", name: NameOption = None, as_json: JsonOption = False) -> None:
    """Show one version after comparing all its files with their digests: models, backtests, rule of takeover."""
    _call(as_json, lambda call: _commands().show(call, name, version))


@model.command()
def promote(
    version: Annotated[int, typer.Argument(min=1, help="Its number.")],
    name: NameOption = None,
    as_json: JsonOption = False,
) -> None:
    """Make a version the champion, whatever the rule of takeover said; the champion before becomes `previous`."""
    _call(as_json, lambda call: _commands().promote(call, name, version))


@model.command()
def rollback(name: NameOption = None, as_json: JsonOption = False) -> None:
    """Make `previous` the champion, and the champion `previous`."""
    _call(as_json, lambda call: _commands().rollback(call, name))


@model.command()
def prune(name: NameOption = None, as_json: JsonOption = False) -> None:
    """Delete all versions but the last 10 and those with an alias: their forecasts can no longer be replayed."""
    _call(as_json, lambda call: _commands().prune(call, name))


def _call(as_json: bool, action: "Callable[[Call], int]") -> None:
    from flows.cli.commands import calling  # noqa: PLC0415  --help needs none of it

    sys.exit(calling(as_json, action))


def _commands() -> ModuleType:
    from flows.cli import model_commands  # noqa: PLC0415  brings pandas

    return model_commands
