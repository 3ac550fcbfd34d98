"""Plain functions as Prefect tasks."""

from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

from prefect import task
from prefect.cache_policies import NO_CACHE

P = ParamSpec("P")
T = TypeVar("T")


def as_task(function: Callable[P, T], name: str) -> Callable[P, T]:
    """Return the plain function as a Prefect task whose inputs are not hashed and whose result is not stored."""
    wrap: Any = task(name=name, cache_policy=NO_CACHE, persist_result=False)
    wrapped: Callable[P, T] = wrap(function)
    return wrapped
