"""One home for the use cases that a module runs in this process."""

from tests.flows.conftest import home

__all__ = ["home"]
