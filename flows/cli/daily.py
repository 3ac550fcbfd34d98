"""The commands `tapecast daily` and `tapecast replay`."""

import sys
from typing import Annotated

import typer

from flows.cli.options import (
    DeviceOption,
    ExchangeOption,
    ExperimentOption,
    JsonOption,
    PathOption,
    SourceOption,
    TickersOption,
    UniverseOption,
    device_value,
    source_values,
    wanted_by,
)

NameOption = Annotated[
    str | None, typer.Option("--model", help="Name of the model; default: daily, or that of the sample or made prices.")
]


def daily(
    tickers: TickersOption = None,
    universe: UniverseOption = None,
    source: SourceOption = None,
    path: PathOption = None,
    exchange: ExchangeOption = None,
    experiment: ExperimentOption = None,
    device: DeviceOption = None,
    model: NameOption = None,
    calendar: Annotated[str | None, typer.Option(help="Exchange calendar to issue for, such as XNYS.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Update, grade, forecast and issue after a close; refit the model where that is due."""
    from flows.cli.commands import calling  # noqa: PLC0415  --help needs none of it

    overrides = wanted_by(tickers, universe).overrides | source_values(source, path, exchange) | device_value(device)
    sys.exit(calling(as_json, lambda call: call.daily(experiment, overrides, model, calendar)))


def replay(
    which: Annotated[str, typer.Argument(help="Entry of the ledger, or id of a run, for all of its entries.")],
    model: Annotated[str, typer.Option(help="Name of the model.")] = "daily",
    as_json: JsonOption = False,
) -> None:
    """Make issued forecasts again from their data, model version and state of then, and compare every bit."""
    from flows.cli.commands import calling  # noqa: PLC0415  --help needs none of it

    sys.exit(calling(as_json, lambda call: call.replay(which, model)))
