"""The use cases as Prefect flows: with tasks and artifacts, a state of its own for a partial result, and retries."""

import signal
import time
from collections.abc import Callable, Mapping
from functools import wraps
from typing import Any

import httpx
from prefect import flow, get_run_logger, task
from prefect.cache_policies import NO_CACHE
from prefect.context import FlowRunContext
from prefect.exceptions import PrefectException
from prefect.states import Completed

from flows.alerts import tell_of_failure
from flows.engine import Conclude, Engine, Function, concluding, no_conclusion
from pipeline.errors import LedgerError, NothingUsableError, SourceUnavailableError, TrackingError
from pipeline.wording import duration
from pipeline.workflow.run_context import F

PARTIAL = "Partial"
"""The name of the state of a run that could not do all; its type is COMPLETED."""
PARTIAL_MESSAGE = "Something could not be done: see the artifacts."
RETRY_SECONDS = (300.0, 900.0)
"""When a deployment tries again after an error that may pass: twice, 20 minutes in all, then it fails."""
MAY_PASS = (SourceUnavailableError, NothingUsableError, TrackingError, LedgerError)
"""Errors that may pass: a source that did not answer (without prices nothing is usable), a record or a ledger
that could not be written."""
HOUR = 3600.0
LONGEST_SECONDS = 24 * HOUR
TIMEOUT_SECONDS: Mapping[str, float] = {
    "ingest": HOUR,
    "forecast": HOUR,
    "daily": 3 * HOUR,
    "run": 6 * HOUR,
    "sine": HOUR,
    "missing": HOUR / 2,
}
"""How long a deployment may take, its second tries included; it then fails as TimedOut, and frees its place."""


def as_task(function: F, name: str) -> F:
    """Return the function as a Prefect task whose inputs are not hashed and whose result is not stored.

    Outside a flow it is the function itself: a task would look for a server.
    """
    if FlowRunContext.get() is None:
        return function
    wrapped: Any = task(name=name, cache_policy=NO_CACHE, persist_result=False)(function)
    return wrapped  # type: ignore[no-any-return]


def as_flow(
    name: str, run_name: str, conclude: Conclude = no_conclusion, **options: Any
) -> Callable[[Function], Function]:
    """Return the decorator that makes a use case a flow; `options` are more of Prefect's own."""

    def decorated(function: Function) -> Function:
        whole = _with_state(concluding(function, conclude))
        made: Any = flow(name=name, flow_run_name=run_name, persist_result=False, **options)(whole)
        return made  # type: ignore[no-any-return]

    return decorated


def show(create: Callable[..., None], *arguments: Any) -> None:
    """Make artifacts or events; where Prefect's server does not take them, the run goes on and its log says so."""
    try:
        create(*arguments)
    except (httpx.HTTPError, PrefectException) as error:
        get_run_logger().warning("Prefect's server took no artifacts or events: %s: %s", type(error).__name__, error)


PREFECT = Engine(as_flow, as_task, show)
"""Runs the use cases as flows."""


def deployed_flow(name: str, run_name: str, conclude: Conclude = no_conclusion) -> Callable[[Function], Function]:
    """Return the decorator of a flow that runs unattended.

    It has a time limit and a rule of when to try again, and raises an alert where it fails in the end.
    """
    limit = TIMEOUT_SECONDS.get(name, LONGEST_SECONDS)
    decorated = as_flow(name, run_name, conclude, timeout_seconds=limit, on_failure=[tell_of_failure])
    return lambda function: decorated(retrying(function))


DEPLOYED = Engine(deployed_flow, as_task, show)
"""Runs the use cases as the flows of deployments."""


def retrying(function: Function, wait: Callable[[float], None] = time.sleep) -> Function:
    """Return a use case that is tried again after errors that may pass, by `wait`; what stays wrong fails at once.

    A result that says why it is `unfinished`, as where no bar of the last session has come yet, is tried again too, and
    is returned in the end.
    """

    @wraps(function)
    def call(*arguments: Any, **named: Any) -> Any:
        for seconds in RETRY_SECONDS:
            try:
                result = function(*arguments, **named)
                reason = getattr(result, "unfinished", "")
                if not reason:
                    return result
            except MAY_PASS as error:
                reason = str(error)
            get_run_logger().warning("%s\nTrying again in %s.", reason, duration(seconds))
            wait(seconds)
        return function(*arguments, **named)

    return call  # type: ignore[return-value]


def _with_state(function: Function) -> Function:
    @wraps(function)
    def call(*arguments: Any, **named: Any) -> Any:
        # Our worker is started with SIGTERM blocked, and so are its runs; Prefect cancels a run by it.
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
        result = function(*arguments, **named)
        if getattr(result, "status", "") != "partial":
            return result
        return Completed(name=PARTIAL, message=PARTIAL_MESSAGE, data=result)

    return call  # type: ignore[return-value]
