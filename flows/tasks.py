"""Plain functions as Prefect tasks."""

from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


def as_task(function: Callable[P, T], name: str) -> Callable[P, T]:
    """Return the plain function as a Prefect task whose inputs are not hashed and whose result is not stored."""
    from prefect import task  # noqa: PLC0415  the store's commands answer without it
    from prefect.cache_policies import NO_CACHE  # noqa: PLC0415

    wrap: Any = task(name=name, cache_policy=NO_CACHE, persist_result=False)
    wrapped: Callable[P, T] = wrap(function)
    return wrapped
