"""The command line: thin, quick to answer, and calling flows; heavy imports happen within the commands."""

import sys
from collections.abc import Callable
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from flows.commands import Call

app = typer.Typer(
    name="tapecast",
    help="Forecast stock prices with recurrent networks, and see whether they beat doing nothing. No trading advice.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


class SourceName(StrEnum):
    """Where daily bars come from."""

    SAMPLE = "sample"
    FILES = "files"
    YAHOO = "yahoo"
    SYNTHETIC = "synthetic"


class Device(StrEnum):
    """Where networks are trained."""

    AUTO = "auto"
    CPU = "cpu"
    CUDA = "cuda"


Tickers = Annotated[str | None, typer.Option(help="Tickers, separated by commas; default: all the source holds.")]
Source = Annotated[SourceName | None, typer.Option(help="Where the daily bars come from; default: the sample.")]
DataPath = Annotated[Path | None, typer.Option(help="CSV or Parquet file, or folder of CSVs; means --source files.")]
File = Annotated[Path | None, typer.Option("--experiment", help="TOML file that describes the experiment.")]
DeviceOption = Annotated[Device | None, typer.Option(help="Where networks are trained.")]
Out = Annotated[Path | None, typer.Option(help="Folder for the report; default: under TAPECAST_HOME.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object to standard output, and nothing else.")]
Day = Annotated[datetime | None, typer.Option(formats=["%Y-%m-%d"], help="Last day of that range of a fixed split.")]


@app.command()
def run(
    tickers: Tickers = None,
    source: Source = None,
    path: DataPath = None,
    experiment: File = None,
    device: DeviceOption = None,
    out: Out = None,
    as_json: Json = False,
) -> None:
    """Backtest against every baseline, then forecast the next sessions."""
    overrides = _overrides(tickers, source, path, device)
    _call(as_json, lambda call: call.run(experiment, overrides, out))


@app.command()
def backtest(
    tickers: Tickers = None,
    source: Source = None,
    path: DataPath = None,
    experiment: File = None,
    device: DeviceOption = None,
    out: Out = None,
    as_json: Json = False,
    train_end: Day = None,
    valid_end: Day = None,
) -> None:
    """Backtest against every baseline: a walk-forward, or one fixed split with --train-end and --valid-end."""
    folds = {name: day.date() for name, day in (("train_end", train_end), ("valid_end", valid_end)) if day is not None}
    overrides = _overrides(tickers, source, path, device) | ({"folds": folds} if folds else {})
    _call(as_json, lambda call: call.backtest(experiment, overrides, out))


@app.command()
def forecast(
    tickers: Annotated[str | None, typer.Option(help="Tickers, separated by commas; default: the model's.")] = None,
    source: Annotated[SourceName | None, typer.Option(help="Where daily bars come from; default: the model's.")] = None,
    path: DataPath = None,
    experiment: File = None,
    device: DeviceOption = None,
    out: Out = None,
    as_json: Json = False,
) -> None:
    """Forecast from the latest fitted model, also tickers that it never saw; a TOML file gives tickers and source."""
    overrides = _overrides(tickers, source, path, device)
    _call(as_json, lambda call: call.forecast(experiment, overrides, out))


@app.command()
def sine(
    seed: Annotated[int, typer.Option(min=0, help="Seed of the series and of the network.")] = 0,
    experiment: File = None,
    device: DeviceOption = None,
    out: Out = None,
    as_json: Json = False,
) -> None:
    """Check the whole pipeline on a sine with noise; of a TOML file it takes network and training. Fails loudly."""
    overrides = _overrides(None, None, None, device)
    _call(as_json, lambda call: call.sine(seed, experiment, overrides, out))


@app.command()
def ui(
    mlflow_port: Annotated[int, typer.Option(min=1, max=65535, help="Port of the MLflow UI.")] = 5000,
    prefect_port: Annotated[int, typer.Option(min=1, max=65535, help="Port of the Prefect UI.")] = 4200,
) -> None:
    """Open the MLflow and Prefect UIs on this machine until Ctrl-C."""
    _call(False, lambda call: call.ui(mlflow_port, prefect_port))


def _overrides(
    tickers: str | None, source: SourceName | None, path: Path | None, device: Device | None
) -> dict[str, Any]:
    """Return what the options say over the experiment file; a path alone means files."""
    values: dict[str, Any] = {}
    if tickers is not None and not tickers.replace(",", "").strip():
        raise typer.BadParameter(
            "no ticker named; leave the option out for all that the source holds", param_hint="--tickers"
        )
    if tickers is not None:
        values["tickers"] = tuple(name.strip() for name in tickers.split(",") if name.strip())
    if device is not None:
        values["device"] = device.value
    if source is not None or path is not None:
        place = {"path": path} if path is not None else {}
        values["source"] = {"kind": (source or SourceName.FILES).value, **place}
    return values


def _call(as_json: bool, action: "Callable[[Call], int]") -> None:
    from flows.commands import calling  # noqa: PLC0415  --help needs none of it

    sys.exit(calling(as_json, action))


def main() -> None:
    """Start the command line; with --json, wrong usage too is told as one JSON object."""
    if "--json" not in sys.argv:
        app()
    try:
        app(standalone_mode=False)
    except typer.TyperException as error:
        from flows.commands import wrong_usage  # noqa: PLC0415

        sys.exit(wrong_usage(error))


if __name__ == "__main__":
    main()
