"""The command line: thin, quick to answer, and calling flows; heavy imports happen within the commands."""

import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated

import typer

from flows.cli.daily import daily, replay
from flows.cli.data import data
from flows.cli.ledger import ledger
from flows.cli.model import model as model_commands
from flows.cli.options import (
    AsKnownOption,
    DayOption,
    DeviceOption,
    ExchangeOption,
    ExperimentOption,
    JsonOption,
    ModelOption,
    OutOption,
    PathOption,
    PublishOption,
    SourceName,
    SourceOption,
    TermsOption,
    TickersOption,
    TomlOutOption,
    TutorialChoice,
    UniverseOption,
    device_value,
    instant,
    publishing_as,
    source_values,
    wanted_by,
)
from flows.cli.prune import prune
from pipeline.processes import spare_the_collector

if TYPE_CHECKING:
    from flows.cli.commands import Call

app = typer.Typer(
    name="tapecast",
    help="Forecast stock prices with recurrent networks, compared with simple baselines. No trading advice.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.command()(daily)
app.command()(replay)
app.command()(prune)
app.add_typer(data)
app.add_typer(ledger)
app.add_typer(model_commands)


@app.command()
def run(
    tickers: TickersOption = None,
    universe: UniverseOption = None,
    source: SourceOption = None,
    path: PathOption = None,
    exchange: ExchangeOption = None,
    as_known: AsKnownOption = None,
    experiment: ExperimentOption = None,
    device: DeviceOption = None,
    out: OutOption = None,
    publish: PublishOption = False,
    model: ModelOption = None,
    as_json: JsonOption = False,
) -> None:
    """Backtest against every baseline, then forecast the next sessions."""
    overrides = wanted_by(tickers, universe).overrides | source_values(source, path, exchange) | device_value(device)
    known, publish_as = instant(as_known), publishing_as(publish, model)
    _call(as_json, lambda call: call.run(experiment, overrides, known, out, publish_as))


@app.command()
def backtest(
    tickers: TickersOption = None,
    universe: UniverseOption = None,
    source: SourceOption = None,
    path: PathOption = None,
    exchange: ExchangeOption = None,
    as_known: AsKnownOption = None,
    experiment: ExperimentOption = None,
    device: DeviceOption = None,
    out: OutOption = None,
    as_json: JsonOption = False,
    train_end: DayOption = None,
    valid_end: DayOption = None,
) -> None:
    """Backtest against every baseline: a walk-forward, or one fixed split with --train-end and --valid-end."""
    folds = {name: day.date() for name, day in (("train_end", train_end), ("valid_end", valid_end)) if day is not None}
    overrides = wanted_by(tickers, universe).overrides | source_values(source, path, exchange) | device_value(device)
    fixed = {"folds": folds} if folds else {}
    known = instant(as_known)
    _call(as_json, lambda call: call.backtest(experiment, overrides | fixed, known, out))


@app.command()
def forecast(
    tickers: Annotated[str | None, typer.Option(help="Tickers, separated by commas; default: the model's.")] = None,
    source: Annotated[SourceName | None, typer.Option(help="Where daily bars come from; default: the model's.")] = None,
    path: PathOption = None,
    exchange: ExchangeOption = None,
    as_known: AsKnownOption = None,
    experiment: ExperimentOption = None,
    device: DeviceOption = None,
    out: OutOption = None,
    model: ModelOption = None,
    as_json: JsonOption = False,
) -> None:
    """Forecast from the published model, also tickers it was not trained on; a TOML file gives tickers and source."""
    overrides = wanted_by(tickers, None).overrides | source_values(source, path, exchange) | device_value(device)
    known = instant(as_known)
    _call(as_json, lambda call: call.forecast(experiment, overrides, known, out, model))


@app.command()
def sine(
    seed: Annotated[int, typer.Option(min=0, help="Seed of the series and of the network.")] = 0,
    experiment: ExperimentOption = None,
    device: DeviceOption = None,
    out: OutOption = None,
    as_json: JsonOption = False,
) -> None:
    """Check the whole pipeline on a sine with noise; of a TOML file it takes network and training. Fails if missed."""
    _call(as_json, lambda call: call.sine(seed, experiment, device_value(device), out))


@app.command()
def tune(
    tickers: TickersOption = None,
    universe: UniverseOption = None,
    source: SourceOption = None,
    path: PathOption = None,
    exchange: ExchangeOption = None,
    as_known: AsKnownOption = None,
    experiment: ExperimentOption = None,
    device: DeviceOption = None,
    trials: Annotated[
        int, typer.Option(min=1, help="Trials that the study has in the end, earlier ones included.")
    ] = 30,
    study: Annotated[str | None, typer.Option(help="Study to continue; default: by what is searched.")] = None,
    folds: Annotated[int, typer.Option(min=1, help="The first folds, whose validation chooses.")] = 3,
    seeds: Annotated[int, typer.Option(min=1, help="Networks per fold in a trial.")] = 1,
    out: TomlOutOption = None,
    as_json: JsonOption = False,
) -> None:
    """Search network and training settings on validation alone; the table named search in the TOML file says which."""
    overrides = wanted_by(tickers, universe).overrides | source_values(source, path, exchange) | device_value(device)
    known, plan = instant(as_known), {"trials": trials, "study": study, "folds": folds, "seeds": seeds}

    def search(call: "Call") -> int:
        from flows.cli.check_commands import run_tune  # noqa: PLC0415  --help needs none of it

        return run_tune(call, experiment, overrides, known, plan, out)

    _call(as_json, search)


@app.command()
def audit(
    tickers: TickersOption = None,
    universe: UniverseOption = None,
    source: SourceOption = None,
    path: PathOption = None,
    exchange: ExchangeOption = None,
    as_known: AsKnownOption = None,
    experiment: ExperimentOption = None,
    origins: Annotated[int | None, typer.Option(min=1, help="Origins to audit; default: those of every fold.")] = None,
    others: Annotated[int, typer.Option(min=0, help="Further origins, within the folds' test ranges.")] = 3,
    every_forecaster: Annotated[bool, typer.Option("--every-forecaster", help="The benchmarks too.")] = False,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the garbage and of the other origins.")] = 0,
    as_json: JsonOption = False,
) -> None:
    """Look for leaks: replace everything after an origin, run all stages again, compare; fails where one differs."""
    overrides = wanted_by(tickers, universe).overrides | source_values(source, path, exchange)
    known = instant(as_known)
    options = {"origins": origins, "others": others, "every_forecaster": every_forecaster, "seed": seed}

    def look(call: "Call") -> int:
        from flows.cli.check_commands import run_audit  # noqa: PLC0415  --help needs none of it

        return run_audit(call, experiment, overrides, known, options)

    _call(as_json, look)


@app.command()
def sanity(
    seed: Annotated[int, typer.Option(min=0, help="Seed of the prices and of the networks.")] = 0,
    seeds: Annotated[int, typer.Option(min=5, help="How many samples without signal are examined.")] = 20,
    as_json: JsonOption = False,
) -> None:
    """Check that planted signals are found, none in noise, and leaks detected; fails where a number is out of range."""

    def check(call: "Call") -> int:
        from flows.cli.check_commands import run_sanity  # noqa: PLC0415  --help needs none of it

        return run_sanity(call, seed, seeds)

    _call(as_json, check)


@app.command()
def tutorial(
    name: Annotated[TutorialChoice, typer.Argument(help="Which tutorial, or all.")] = TutorialChoice.ALL,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the series and of the networks.")] = 0,
    terms: TermsOption = None,
    out: OutOption = None,
    as_json: JsonOption = False,
) -> None:
    """Fit the tutorials' networks by the code of every run; fails where a stated mark is missed."""

    def learn(call: "Call") -> int:
        from flows.cli.check_commands import fit_tutorials  # noqa: PLC0415  --help needs none of it

        return fit_tutorials(call, name.value, seed, terms, out)

    _call(as_json, learn)


@app.command()
def ui(
    mlflow_port: Annotated[int, typer.Option(min=1, max=65535, help="Port of the MLflow UI.")] = 5000,
    prefect_port: Annotated[int, typer.Option(min=1, max=65535, help="Port of the Prefect UI.")] = 4200,
) -> None:
    """Open the MLflow and Prefect UIs on this machine until Ctrl-C."""
    _call(False, lambda call: call.ui(mlflow_port, prefect_port))


@app.command()
def worker(
    name: Annotated[str | None, typer.Option(help="Unique name of the worker.  [default: user@host]")] = None,
    health_port: Annotated[
        int | None, typer.Option(min=1, max=65535, help="Port of the worker's health check.")
    ] = None,
) -> None:
    """Deploy what prefect.yaml describes and work on it until Ctrl-C; Prefect's server is that of `tapecast ui`."""
    _call(False, lambda call: call.worker(name, health_port))


def _call(as_json: bool, action: "Callable[[Call], int]") -> None:
    from flows.cli.commands import calling  # noqa: PLC0415  --help needs none of it

    sys.exit(calling(as_json, action))


def start() -> None:
    """Run the command that was given; with --json, wrong usage is reported as one JSON object too."""
    spare_the_collector()
    if "--json" not in sys.argv:
        app()
    try:
        sys.exit(app(standalone_mode=False))
    except typer.TyperException as error:
        from flows.cli.commands import wrong_usage  # noqa: PLC0415

        sys.exit(wrong_usage(error))
