"""The commands behind the command line: each calls a flow, shows its result, and returns the exit status."""

import contextlib
import getpass
import json
import os
import signal
import socket
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, TypeVar

import typer

from flows.configuration import read_experiment
from flows.environment import prepare_environment, prepare_worker
from pipeline.errors import ExitStatus, TapecastError, UsageError
from pipeline.experiment import Experiment
from pipeline.files import refuse_unwritable
from pipeline.market.specification import SourceSpec, StoredSource, known_at
from pipeline.operation.model import latest_models
from pipeline.settings import Settings
from pipeline.training.cache import FitCache
from pipeline.training.devices import choose_device
from pipeline.workflow.tickers import tickers_of

if TYPE_CHECKING:
    from rich.console import Console

    from flows.main import Flows
    from flows.terminal import TerminalWatch
    from pipeline.workflow.result import Summary

T = TypeVar("T")

INTERRUPTED = 130  # as the shell has it: 128 + SIGINT

Overrides = Mapping[str, Any]


def calling(as_json: bool, action: "Callable[[Call], int]") -> int:
    """Return the exit status of a command; every error becomes one clear message, and JSON where that was asked."""
    # A service manager ends us with SIGTERM: like an interrupt, it must leave no worker, server or open run behind.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with own_stdout(as_json) as output:
        call = Call(as_json, output)
        try:
            return action(call)
        except KeyboardInterrupt:
            print("interrupted: finished fits are kept, the next run goes on from there", file=sys.stderr)
            return INTERRUPTED
        except TapecastError as error:
            call.fails(error)
            return int(error.exit_status)
        except Exception as error:  # noqa: BLE001  shown whole: it is a fault of ours
            traceback.print_exc()
            call.fails(error)
            return int(ExitStatus.OUR_FAULT)


def known(experiment: Experiment, as_known: datetime | None) -> Experiment:
    """Return the experiment on prices as known at an instant; the store's where no source was named."""
    if as_known is None:
        return experiment
    named = experiment.source if "source" in experiment.model_fields_set else StoredSource()
    return experiment.model_copy(update={"source": known_at(named, as_known)})


def usable(experiment: Experiment, out: Path | None) -> Experiment:
    """Return the experiment if nothing speaks against it that can be seen at once, before a server is started.

    Raises UsageError for a device, a file or a folder that is not there or cannot be used.
    """
    choose_device(experiment.device) if experiment.device == "cuda" else None
    refuse_missing_file(experiment.source)
    for folder in (Settings().root, *([out] if out else [])):
        refuse_unwritable(folder)
    return experiment


def refuse_missing_file(source: SourceSpec) -> None:
    """Raise UsageError where a source of files has none."""
    if source.kind == "files" and not source.path.exists():
        raise UsageError(f"no file or folder {source.path}; expected a CSV, a Parquet file or a folder")


def wrong_usage(error: typer.TyperException) -> int:
    """Return exit status 2 after telling of an option or command that does not exist, as JSON and as a sentence."""
    from pipeline.workflow.result import failed  # noqa: PLC0415

    told = UsageError(error.format_message())
    print(f"error: {told}", file=sys.stderr)
    print(json.dumps(failed(told).as_json()))
    return int(told.exit_status)


@contextlib.contextmanager
def own_stdout(as_json: bool) -> Iterator[IO[str]]:
    """Yield where the result goes; with JSON everything else that is printed, by children too, goes to stderr."""
    if not as_json:
        yield sys.stdout
        return
    sys.stdout.flush()
    saved = os.dup(1)
    os.dup2(2, 1)
    try:
        with os.fdopen(os.dup(saved), "w", encoding="utf-8") as output:
            yield output
    finally:
        sys.stdout.flush()
        os.dup2(saved, 1)
        os.close(saved)


class Call:
    """One command: how it shows what happens, and what it calls."""

    def __init__(self, as_json: bool, output: IO[str]) -> None:
        self._as_json = as_json
        self._output = output

    def run(self, file: Path | None, overrides: Overrides, as_known: datetime | None, out: Path | None) -> int:
        """Run the main job, on prices as they were known at an instant where one is given."""
        experiment = usable(known(read_experiment(file, overrides), as_known), out)
        return self._flow(lambda flows: flows.run(experiment, out))

    def backtest(self, file: Path | None, overrides: Overrides, as_known: datetime | None, out: Path | None) -> int:
        """Run the backtest alone."""
        experiment = usable(known(read_experiment(file, overrides), as_known), out)
        return self._flow(lambda flows: flows.backtest(experiment, out))

    def forecast(self, file: Path | None, overrides: Overrides, as_known: datetime | None, out: Path | None) -> int:
        """Forecast from the latest model."""
        asked = usable(read_experiment(file, overrides), out)
        source = asked.source if "source" in asked.model_fields_set else None
        # nothing else starts where there is no model
        latest = next(iter(latest_models(Settings().models, FitCache(Settings().fits)).values()))
        wanted = tickers_of(Settings(), source or latest.experiment.source, asked.tickers, asked.universe)
        return self._flow(lambda flows: flows.forecast(wanted, source, as_known, out))

    def sine(self, seed: int, file: Path | None, overrides: Overrides, out: Path | None) -> int:
        """Run the sine sanity flow with the network, training and device of an experiment."""
        asked = usable(read_experiment(file, overrides), out)
        return self._flow(lambda flows: pipeline.workflow.sine(seed, asked, out))

    def ui(self, mlflow_port: int, prefect_port: int) -> int:
        """Serve both UIs until interrupted."""
        from flows.pages import serve_pages  # noqa: PLC0415

        return serve_pages(Settings(), mlflow_port, prefect_port)

    def worker(self, name: str | None, health_port: int | None) -> int:
        """Deploy, and work on what is scheduled; becomes Prefect's worker and does not return."""
        prepare_worker(Settings().root)
        from flows.worker import work  # noqa: PLC0415  after the environment is set

        work(name or f"{getpass.getuser()}@{socket.gethostname()}", health_port)

    def fails(self, error: BaseException) -> None:
        """Show an error: a sentence on stderr, and the JSON object where that was asked for."""
        print(f"error: {error}" if str(error) else f"error: {type(error).__name__}", file=sys.stderr)
        if self._as_json:
            from pipeline.workflow.result import failed  # noqa: PLC0415

            self.tells(failed(error).as_json(), lambda _: None)

    def _flow(self, action: "Callable[[Flows], Summary]") -> int:
        from flows.server import FOR_A_RUN  # noqa: PLC0415
        from flows.terminal import show_summary  # noqa: PLC0415

        def run(watch: "TerminalWatch") -> "Summary":
            from flows.main import build_flows  # noqa: PLC0415  brings Prefect, after its environment is set

            return action(build_flows(watch))

        summary, seconds = self.under_prefect(run, FOR_A_RUN)
        summary = replace(summary, seconds={**seconds, **summary.seconds})
        self.tells(summary.as_json(), lambda console: show_summary(console, summary))
        return int(ExitStatus.PARTIAL if summary.status == "partial" else ExitStatus.OK)

    def under_prefect(
        self, action: "Callable[[TerminalWatch], T]", import_meanwhile: Sequence[str] = ()
    ) -> "tuple[T, dict[str, float]]":
        """Return what an action gives that calls flows, and the seconds that it took to start Prefect."""
        prepare_environment(Settings().root)
        from flows.server import start_temporary_server  # noqa: PLC0415
        from flows.terminal import TerminalWatch  # noqa: PLC0415
        from pipeline.workflow.progress import Stopwatch  # noqa: PLC0415

        watch = TerminalWatch(self.console())
        with watch.showing():
            before = Stopwatch(watch)
            with before.stage("prefect"):
                start_temporary_server(import_meanwhile)
            return action(watch), before.seconds

    def console(self) -> "Console":
        """Return where people are told: standard output, or the other one where JSON goes there."""
        from rich.console import Console  # noqa: PLC0415

        return Console(stderr=self._as_json)

    def tells(self, values: Mapping[str, Any], show: "Callable[[Console], None]") -> None:
        """Print a result: as one JSON object where that was asked for, else as `show` does."""
        if not self._as_json:
            show(self.console())
            return
        self._output.write(json.dumps(values, allow_nan=False) + "\n")
        self._output.flush()
