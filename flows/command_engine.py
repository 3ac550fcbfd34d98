"""The use cases as Prefect flows of a command, which goes on without Prefect's server where that does not answer."""

import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from types import FrameType
from typing import Any

import httpx
from prefect import tags
from prefect.context import TagsContext
from prefect.exceptions import Abort, PrefectException

from flows.cli.signals import take_signals_back
from flows.engine import Engine, Function
from flows.leftovers import process_tag
from flows.prefect_engine import as_flow, as_task

AGAIN_SECONDS = 0.5
SHORTEST_SECONDS = 0.01  # a timer of none would never ring
INTERRUPTED_SECONDS = 1.5
"""How long an interrupted command waits for Prefect's server, which is to show that it was."""


class UnansweredError(Abort):
    """Prefect's server did not answer in time; Prefect itself lets it pass without a further call."""


FAILURES = (UnansweredError, httpx.HTTPError, PrefectException)


class Patience:
    """How long a command still waits for Prefect's server, all calls together, in seconds.

    From `resume` to `pause` the time counts, and UnansweredError is raised in the main thread once it is spent.
    """

    def __init__(self, seconds: float, gives_up: Callable[[BaseException], None]) -> None:
        self._left, self._gives_up = seconds, gives_up
        self._resumed_at = 0.0
        self.spent = False

    def resume(self) -> None:
        """Count from now on."""
        self._resumed_at = time.monotonic()
        signal.signal(signal.SIGALRM, self._raise)
        # Again after a while: the first may be raised where Prefect handles another error, and be lost there.
        signal.setitimer(signal.ITIMER_REAL, max(self._left, SHORTEST_SECONDS), AGAIN_SECONDS)

    def pause(self) -> None:
        """Count no more."""
        signal.setitimer(signal.ITIMER_REAL, 0)
        self._left -= time.monotonic() - self._resumed_at

    def shorten(self, seconds: float) -> None:
        """Wait no longer than this in all from now on."""
        self._left = min(self._left, seconds)

    def spend(self, action: Callable[[], None]) -> None:
        """Do what Prefect's pages need and no result does, unless its server was given up."""
        if self.spent:
            return
        self.resume()
        try:
            action()
        except FAILURES as error:
            self.give_up(error)
        finally:
            self.pause()

    def give_up(self, error: BaseException) -> None:
        """Ask no more because of an error, and say so once."""
        if not self.spent:
            self.spent = True
            self.shorten(0)
            self._gives_up(error)

    def _raise(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002  as Python calls it
        raise UnansweredError("no answer in time")


@dataclass
class _Outcome:
    """What a use case has come to, whatever Prefect makes of it."""

    begun: bool = False
    finished: bool = False
    result: Any = None
    error: BaseException | None = None

    def of(self, function: Callable[..., Any], arguments: tuple[Any, ...], named: dict[str, Any]) -> Any:
        """Return the function's result, and keep it or its error."""
        self.begun = True
        try:
            self.result = function(*arguments, **named)
        except BaseException as error:
            self.error = error
            raise
        self.finished = True
        return self.result


def command_engine(patience: Patience) -> Engine:
    """Return the engine of a command; nothing that Prefect's server does or leaves undone costs its result."""

    def as_surviving_flow(name: str, run_name: str) -> Callable[[Function], Function]:
        return lambda function: surviving(function, as_flow(name, run_name), patience)

    def show_while_patient(create: Callable[..., None], *arguments: Any) -> None:
        patience.spend(lambda: create(*arguments))

    return Engine(as_surviving_flow, as_task, show_while_patient, lambda: patience.spent)


def surviving(function: Function, decorate: Callable[[Function], Function], patience: Patience) -> Function:
    """Return a use case that is called as `decorate` makes it a flow, and plainly where Prefect fails before it began.

    What it returns or raises is what comes, whatever Prefect makes of it.
    """

    @wraps(function)
    def call(*arguments: Any, **named: Any) -> Any:
        outcome = _Outcome()

        @wraps(function)
        def body(*given: Any, **given_named: Any) -> Any:
            patience.pause()
            take_signals_back()  # Prefect has a way of its own with SIGTERM while a flow runs
            try:
                with TagsContext(current_tags=set()):  # a task with tags asks the server for a slot of each
                    return outcome.of(function, given, given_named)
            except KeyboardInterrupt:
                patience.shorten(INTERRUPTED_SECONDS)
                raise
            finally:
                patience.resume()

        patience.resume()
        try:
            with tags(process_tag()):
                return decorate(body)(*arguments, **named)  # type: ignore[arg-type]
        except (Exception, Abort) as error:
            if outcome.error is not None:
                raise outcome.error from None  # whatever Prefect makes of it
            if not outcome.finished and (outcome.begun or not isinstance(error, FAILURES)):
                raise
            patience.give_up(error)
        finally:
            patience.pause()
        return outcome.result if outcome.finished else function(*arguments, **named)

    return call  # type: ignore[return-value]
