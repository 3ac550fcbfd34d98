"""How use cases are run: as plain functions here, as Prefect's flows in `prefect_engine`, mirrored in `mirror`."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from typing import Any, Protocol, TypeVar

from pipeline.workflow.run_context import Step, unwrapped

Function = TypeVar("Function", bound=Callable[..., Any])
Conclude = Callable[[Any], None]
"""Called with the result of a use case once it is the last: not with one after which it is tried again."""


def no_conclusion(_result: object) -> None:
    """Do nothing more with a result."""


class AsFlow(Protocol):
    """How a use case of a name becomes what is called; `run_name` is a template of its parameters."""

    def __call__(self, name: str, run_name: str, conclude: Conclude = no_conclusion) -> Callable[[Function], Function]:
        """Return the decorator."""


@dataclass(frozen=True)
class Engine:
    """How use cases, their steps and what they show on pages are run."""

    flow: AsFlow
    step: Step
    show: Callable[..., None]
    """Called with a function that makes artifacts or events, and its arguments."""


def concluding(function: Function, conclude: Conclude) -> Function:
    """Return a use case whose result is given to `conclude` before it is returned."""

    @wraps(function)
    def call(*arguments: Any, **named: Any) -> Any:
        result = function(*arguments, **named)
        conclude(result)
        return result

    return call  # type: ignore[return-value]


def _plain_flow(
    name: str,  # noqa: ARG001  no page has names
    run_name: str,  # noqa: ARG001
    conclude: Conclude = no_conclusion,
) -> Callable[[Function], Function]:
    return lambda function: function if conclude is no_conclusion else concluding(function, conclude)


def _show_nothing(create: Callable[..., None], *arguments: Any) -> None:
    """Make no artifact."""


PLAIN = Engine(_plain_flow, unwrapped, _show_nothing)
"""Runs the use cases as the functions that they are."""
