"""The commands behind the command line: each calls a flow, shows its result, and returns the exit status."""

import contextlib
import getpass
import json
import os
import socket
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, TypeVar

import typer

from flows.cli.experiment_file import Overrides, as_known_at, read_experiment, usable
from flows.cli.options import PublishAs
from flows.cli.signals import INTERRUPTED_STATUS, exit_now
from flows.environment import prepare_environment, prepare_worker
from pipeline.errors import ExitStatus, TapecastError, UsageError
from pipeline.operation.model import common_source, model_name, refuse_unusable_name
from pipeline.operation.model_versions import name_to_forecast_with, read_version
from pipeline.settings import Settings
from pipeline.workflow.tickers import tickers_of

if TYPE_CHECKING:
    from rich.console import Console

    from flows.definitions import Flows
    from flows.reach import ReachedPrefect
    from pipeline.workflow.result import Result, UseCaseResult

R = TypeVar("R", bound="UseCaseResult")


def calling(as_json: bool, action: "Callable[[Call], int]") -> int:
    """Return the exit status of a command; every error becomes one clear message, and JSON where that was requested.

    Its result is out before anything of Prefect is waited for. After an interrupt, or where Prefect's server was given
    up, the process ends here: threads are not waited for.
    """
    with own_stdout(as_json) as output:
        call = Call(as_json, output)
        status = _status(call, action)
        try:
            status = call.end(status)
        except KeyboardInterrupt:
            status = call.end(INTERRUPTED_STATUS)
    if call.leaves_at_once or status == INTERRUPTED_STATUS:
        exit_now(status)
    return status


def _status(call: "Call", action: "Callable[[Call], int]") -> int:
    try:
        return action(call)
    except KeyboardInterrupt:
        print("interrupted: finished fits are cached, the next run continues from there", file=sys.stderr)
        return INTERRUPTED_STATUS
    except TapecastError as error:
        call.fails(error)
        return int(error.exit_status)
    except Exception as error:  # noqa: BLE001  shown whole: it is a fault of ours
        traceback.print_exc()
        call.fails(error)
        return int(ExitStatus.OUR_FAULT)


def wrong_usage(error: typer.TyperException) -> int:
    """Return exit status 2 after reporting an unknown option or command, as JSON and as a sentence."""
    from pipeline.workflow.result import failure_json  # noqa: PLC0415

    usage = UsageError(error.format_message())
    print(f"error: {usage}", file=sys.stderr)
    print(json.dumps(failure_json(usage)))
    return int(usage.exit_status)


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
        self._prefect: ReachedPrefect | None = None

    @property
    def leaves_at_once(self) -> bool:
        """Whether threads are not waited for at the end of the process."""
        return self._prefect is not None and self._prefect.abandoned

    def end(self, status: int) -> int:
        """Return the exit status of the command, once Prefect's pages show how it ended."""
        if self._prefect is None:
            return status
        with self.console.status("recording in Prefect"):
            shown = self._prefect.end(interrupted=status == INTERRUPTED_STATUS)
        return status if shown else status or int(ExitStatus.OUR_FAULT)

    def run(
        self,
        file: Path | None,
        overrides: Overrides,
        as_known: datetime | None,
        out: Path | None,
        publish: PublishAs,
    ) -> int:
        """Run the main job, on prices as they were known at an instant where one is given."""
        experiment = usable(as_known_at(read_experiment(file, overrides), as_known), out)
        if publish.publish:
            refuse_unusable_name(publish.model or model_name(experiment.source), experiment.source)
        return self._result(lambda flows: flows.run(experiment, out, publish.publish, publish.model))

    def backtest(self, file: Path | None, overrides: Overrides, as_known: datetime | None, out: Path | None) -> int:
        """Run the backtest alone."""
        experiment = usable(as_known_at(read_experiment(file, overrides), as_known), out)
        return self._result(lambda flows: flows.backtest(experiment, out))

    def forecast(
        self,
        file: Path | None,
        overrides: Overrides,
        as_known: datetime | None,
        out: Path | None,
        model: str | None,
    ) -> int:
        """Forecast from the champion of a model."""
        requested = usable(read_experiment(file, overrides), out, writes=False)
        source = requested.source if "source" in requested.model_fields_set else None
        # no server is started where there is no model
        settings = Settings()
        models = read_version(settings.models, model or name_to_forecast_with(settings.models, source)).models
        tickers = tickers_of(settings, source or common_source(models), requested.tickers, requested.universe)
        return self._result(lambda flows: flows.forecast(tickers, source, as_known, out, model))

    def daily(self, file: Path | None, overrides: Overrides, model: str | None, calendar: str | None) -> int:
        """Issue the forecasts of the sessions that have closed, and print them before they are recorded."""
        from flows.cli.daily_rendering import show_after_issue, show_issued  # noqa: PLC0415

        experiment = usable(read_experiment(file, overrides), None)
        refuse_unusable_name(model or model_name(experiment.source), experiment.source)
        return self.flow(
            lambda flows: flows.daily(experiment, model, calendar),
            show_after_issue,
            announce=self._unless_json(show_issued),
        )

    def replay(self, which: str, model: str) -> int:
        """Make the forecasts of an entry of the ledger again."""
        from flows.cli.daily_rendering import show_replay  # noqa: PLC0415
        from pipeline.workflow.replay import replays  # noqa: PLC0415
        from pipeline.workflow.run_context import new_context  # noqa: PLC0415

        result = replays(new_context("forecast"), model, int(which) if which.isdigit() else which)
        return self.finish(result, show_replay)

    def sine(self, seed: int, file: Path | None, overrides: Overrides, out: Path | None) -> int:
        """Run the sine check with the network, training and device of an experiment."""
        experiment = usable(read_experiment(file, overrides), out)
        from flows.cli.rendering import show_result  # noqa: PLC0415

        return self.flow(lambda flows: flows.sine(seed, experiment, out), show_result)

    def ui(self, mlflow_port: int, prefect_port: int) -> int:
        """Serve both UIs until interrupted."""
        from flows.servers import serve_pages  # noqa: PLC0415

        return serve_pages(Settings(), mlflow_port, prefect_port)

    def worker(self, name: str | None, health_port: int | None) -> int:
        """Deploy, and work on what is scheduled until interrupted."""
        settings = Settings()
        prepare_worker(settings.root)
        from flows.worker import work  # noqa: PLC0415  after the environment is set

        named = name or f"{getpass.getuser()}@{socket.gethostname()}"
        return work(named, health_port, settings.processes, settings.alert_block)

    def fails(self, error: BaseException) -> None:
        """Show an error: a sentence on stderr, and the JSON object where that was requested."""
        print(f"error: {error}" if str(error) else f"error: {type(error).__name__}", file=sys.stderr)
        if self._as_json:
            from pipeline.workflow.result import failure_json  # noqa: PLC0415

            self.prints(failure_json(error), lambda _: None)

    def _result(self, action: "Callable[[Flows], Result]") -> int:
        """Return the exit status of a run; what it finds is shown before it is recorded, JSON once that is done."""
        from flows.cli.rendering import show_after_found, show_found  # noqa: PLC0415

        return self.flow(action, show_after_found, announce=self._unless_json(show_found))

    def _unless_json(self, show: "Callable[[Console, Any], None]") -> Callable[[Any], None]:
        return lambda found: None if self._as_json else show(self.console, found)

    def flow(self, action: "Callable[[Flows], R]", show: "Callable[[Console, R], None]", **options: Any) -> int:
        """Return the exit status of a flow, after printing its result as JSON or as `show` does.

        `options` are those of build_flows.
        """
        settings = Settings()
        prepare_environment(settings.root)
        from flows.cli.rendering import TerminalProgress  # noqa: PLC0415
        from flows.reach import ReachedPrefect  # noqa: PLC0415

        progress = TerminalProgress(self.console)
        self._prefect = ReachedPrefect(settings, progress)
        from flows.definitions import build_flows  # noqa: PLC0415  while the server starts

        with progress.showing():
            result = action(build_flows(progress, self._prefect.engine, **options))
        status = self.finish(result, show)
        if not getattr(result, "recorded", True):
            self._deliver()
        return status

    def _deliver(self) -> None:
        """Deliver what could not be recorded while the run went on, where that needs time alone; the result is out."""
        from pipeline.workflow.earlier_records import deliver_after  # noqa: PLC0415

        console = self.console
        with console.status("recording in MLflow"):
            sentence = deliver_after(Settings())
        if sentence:
            console.print(sentence, style="dim", soft_wrap=True)

    def finish(self, result: "R", show: "Callable[[Console, R], None]") -> int:
        """Return the exit status of a finished use case, after printing its result."""
        self.prints(result.as_json(), lambda console: show(console, result))
        return int(ExitStatus.PARTIAL if result.status == "partial" else ExitStatus.OK)

    @cached_property
    def console(self) -> "Console":
        """The console for text: standard output, or standard error where JSON goes to the former."""
        from rich.console import Console  # noqa: PLC0415

        return Console(stderr=self._as_json)

    def prints(self, values: Mapping[str, Any], show: "Callable[[Console], None]") -> None:
        """Print a result: as one JSON object where that was requested, else as `show` does."""
        if not self._as_json:
            show(self.console)
            return
        self._output.write(json.dumps(values, allow_nan=False) + "\n")
        self._output.flush()
