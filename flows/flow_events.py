"""What happens in a use case, as the thread that shows it in Prefect is sent it."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class FlowBegun:
    """A use case has begun, at an instant of the monotonic clock."""

    name: str
    run_name: str
    function: Callable[..., Any]
    arguments: tuple[Any, ...]
    named: Mapping[str, Any]
    at: float = field(default_factory=time.monotonic)


@dataclass(frozen=True)
class StepBegun:
    """A step has begun."""

    name: str


@dataclass(frozen=True)
class Ended:
    """The use case, or the step that began last, has ended after some seconds: with a result's status, or an error."""

    seconds: float
    status: str = ""
    error: BaseException | None = None


@dataclass(frozen=True)
class Shown:
    """The use case shows something on Prefect's pages."""

    create: Callable[..., None]
    arguments: tuple[Any, ...]


Event = FlowBegun | StepBegun | Ended | Shown | None
"""What the thread is sent; None where no use case has begun, and none will."""
