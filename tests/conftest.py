"""Makes the shared builders importable from every room's tests, and lets the slow tests begin first."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    # With two processes the longest test would otherwise run last, and alone.
    items.sort(key=lambda item: (item.get_closest_marker("slow") is None, "installation" not in item.nodeid))
