"""A command's use case as a flow run of Prefect, shown by a thread: the command waits for no server, and needs none."""

import threading
import time
import traceback
from collections.abc import Callable, Mapping
from contextvars import copy_context
from functools import wraps
from queue import SimpleQueue
from typing import Any

from flows.engine import Conclude, Engine, Function, concluding, no_conclusion
from flows.flow_events import Ended, Event, FlowBegun, Shown, StepBegun
from pipeline.errors import TapecastError

LOOK_SECONDS = 0.02

Say = Callable[[str], None]
"""Shows a sentence to the person who called the command."""


class Mirror:
    """Runs the use case of a command plainly, and shows it in Prefect meanwhile.

    What happens is queued, and a thread follows as fast as the server lets it. `connect` returns once the server
    answers, and raises TapecastError where it does not in time; `say` shows a sentence.
    """

    def __init__(self, connect: Callable[[], None], say: Say) -> None:
        self._connect, self._say = connect, say
        self._events: SimpleQueue[Event] = SimpleQueue()
        self._called_at: float | None = time.monotonic()  # when the server was last called, None while nothing happens
        self.abandoned = False
        """Whether the server was given up: no call to it is to be waited for any more."""
        self.fault: Exception | None = None
        """An error of our own code in what Prefect was to show."""
        self._thread = threading.Thread(target=copy_context().run, args=(self._follow,), daemon=True)
        self._thread.start()

    @property
    def engine(self) -> Engine:
        """How the command's use case is run."""
        return Engine(self._flow, self._step, self._show)

    def end(self, seconds: float) -> None:
        """Wait until Prefect shows how the use case ended, no longer than some seconds in all.

        A call that the server has left unanswered for so long meanwhile is not waited for any more.
        """
        self._events.put(None)
        end = time.monotonic() + seconds
        while self._thread.is_alive():
            now = time.monotonic()
            if now > end or (self._called_at is not None and now - self._called_at > seconds):
                self._give_up(f"Prefect's server did not answer within {seconds:.0f} s")
                return
            self._thread.join(LOOK_SECONDS)

    def _flow(self, name: str, run_name: str, conclude: Conclude = no_conclusion) -> Callable[[Function], Function]:
        def decorated(function: Function) -> Function:
            concluded = concluding(function, conclude)

            @wraps(function)
            def call(*arguments: Any, **named: Any) -> Any:
                self._events.put(FlowBegun(name, run_name, function, arguments, named))
                return self._ended(concluded, arguments, named)

            return call  # type: ignore[return-value]

        return decorated

    def _step(self, function: Function, name: str) -> Function:
        @wraps(function)
        def call(*arguments: Any, **named: Any) -> Any:
            self._events.put(StepBegun(name))
            return self._ended(function, arguments, named)

        return call  # type: ignore[return-value]

    def _ended(self, function: Callable[..., Any], arguments: tuple[Any, ...], named: Mapping[str, Any]) -> Any:
        """Return what the function returns, and queue how it ended."""
        began = time.monotonic()
        try:
            result = function(*arguments, **named)
        except BaseException as error:
            self._events.put(Ended(time.monotonic() - began, error=error))
            raise
        self._events.put(Ended(time.monotonic() - began, getattr(result, "status", "")))
        return result

    def _show(self, create: Callable[..., None], *arguments: Any) -> None:
        self._events.put(Shown(create, arguments))

    def _follow(self) -> None:
        try:
            self._connect()
            from flows.followed_flow import follow  # noqa: PLC0415  brings Prefect, after its server is known

            follow(self._next_event, self._say)
        except TapecastError as error:
            self._give_up(str(error))
        except Exception as error:  # noqa: BLE001  the command's result stands; its caller shows the fault
            self.fault = error
            traceback.print_exc()

    def _next_event(self) -> Event:
        self._called_at = None
        event = self._events.get()
        self._called_at = time.monotonic()
        return event

    def _give_up(self, reason: str) -> None:
        self.abandoned = True
        self._say(f"{reason}: the command does without Prefect, whose pages do not show how it ended")
