"""The flow run that Prefect shows of a use case which runs elsewhere: it follows the use case's events."""

import logging
import time
import traceback
import warnings
from collections.abc import Callable
from functools import wraps
from typing import Any

import httpx
from prefect import get_run_logger, tags, task
from prefect.cache_policies import NO_CACHE
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import State
from prefect.context import TagsContext
from prefect.exceptions import PrefectException
from prefect.settings import PREFECT_API_URL
from prefect.states import Completed, Crashed, Failed

from flows.flow_events import Ended, Event, FlowBegun, Shown, StepBegun
from flows.leftovers import end_killed, process_tag
from flows.prefect_engine import PARTIAL, PARTIAL_MESSAGE, as_flow
from pipeline.errors import TapecastError
from pipeline.wording import duration

NextEvent = Callable[[], Event]
NOTED_SECONDS = 1.0
"""A flow run that began this much later than its use case says so."""
INTERRUPTED = "The command was interrupted. Finished fits are kept: the next run continues from them."


def follow(next_event: NextEvent, say: Callable[[str], None]) -> None:
    """Show a use case as a flow run while it runs, after ending those of killed commands.

    Raises TapecastError where the server fails.
    """
    # A log that the server does not take is lost, and no error of the command; nor is a call that is broken off.
    logging.raiseExceptions = False
    warnings.filterwarnings("ignore", "coroutine '.*' was never awaited", RuntimeWarning)
    try:
        with get_client(sync_client=True) as client:
            for run in end_killed(client):
                say(f"the command of Prefect's run {run.name!r} was killed: it is now shown as crashed")
        begun = next_event()
        if isinstance(begun, FlowBegun):
            _flow_run(begun, next_event)
    except (httpx.HTTPError, PrefectException) as error:
        reason = str(error) or type(error).__name__
        raise TapecastError(f"Prefect's server at {PREFECT_API_URL.value()} failed ({reason})") from error


class _Following:
    """Follows the events of one flow; `error` is what was raised in showing them, which Prefect keeps to itself."""

    def __init__(self, next_event: NextEvent) -> None:
        self._next_event = next_event
        self.error: Exception | None = None

    def until_end(self, late: float = 0.0) -> State[Any]:
        """Show steps and artifacts until the flow or step that began last ends, and return its state."""
        try:
            while not isinstance(event := self._next_event(), Ended):
                if isinstance(event, StepBegun):
                    self._follow_step(event.name)
                elif isinstance(event, Shown):
                    event.create(*event.arguments)
        except Exception as error:
            self.error = error
            raise
        return _final_state(event, late)

    def _follow_step(self, name: str) -> None:
        step: Any = task(name=name, cache_policy=NO_CACHE, persist_result=False)(self.until_end)
        step(return_state=True)
        if self.error:
            raise self.error


def _flow_run(begun: FlowBegun, next_event: NextEvent) -> None:
    following = _Following(next_event)

    @wraps(begun.function)
    def body(*_arguments: Any, **_named: Any) -> State[Any]:
        late = time.monotonic() - begun.at
        with TagsContext(current_tags=set()):  # a task with tags asks the server for a slot of each
            return following.until_end(late)

    with tags(process_tag()):
        flow: Any = as_flow(begun.name, begun.run_name)(body)
        flow(*begun.arguments, **begun.named, return_state=True)
    if following.error:
        raise following.error


def _final_state(ended: Ended, late: float = 0.0) -> State[Any]:
    """Return the state of a flow or step, with its seconds: those that Prefect shows begin when it was shown."""
    error, took = ended.error, f"Took {duration(ended.seconds)}"
    took += f", from {duration(late)} before this server answered." if late > NOTED_SECONDS else "."
    if error is None:
        if ended.status == "partial":
            return Completed(name=PARTIAL, message=f"{PARTIAL_MESSAGE} {took}")
        return Completed(message=took)
    if not isinstance(error, Exception):
        return Crashed(message=f"{INTERRUPTED} {took}")
    reason = str(error) if isinstance(error, TapecastError) else "".join(traceback.format_exception(error))
    get_run_logger().error(reason)
    return Failed(message=f"{type(error).__name__}: {error} {took}")
