"""How use cases are run: as plain functions here, as Prefect's flows in `prefect_engine`, mirrored in `mirror`."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from pipeline.workflow.run_context import Step, unwrapped

Function = TypeVar("Function", bound=Callable[..., Any])


class AsFlow(Protocol):
    """How a use case of a name becomes what is called; `run_name` is a template of its parameters."""

    def __call__(self, name: str, run_name: str) -> Callable[[Function], Function]:
        """Return the decorator."""


@dataclass(frozen=True)
class Engine:
    """How use cases, their steps and what they show on pages are run."""

    flow: AsFlow
    step: Step
    show: Callable[..., None]
    """Called with a function that makes artifacts, and its arguments."""


def _plain_flow(name: str, run_name: str) -> Callable[[Function], Function]:  # noqa: ARG001  no page has names
    return lambda function: function


def _show_nothing(create: Callable[..., None], *arguments: Any) -> None:
    """Make no artifact."""


PLAIN = Engine(_plain_flow, unwrapped, _show_nothing)
"""Runs the use cases as the functions that they are."""
