"""Lets the slow tests begin first, and keeps two workers from four threads."""

import gc
import os

import pytest

os.environ.setdefault("OMP_NUM_THREADS", "1")  # read once, when torch is imported
gc.set_threshold(100_000, 20, 20)  # as the command line does: what is imported stays, and is searched in vain


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.suffix == ".ipynb":  # a notebook trains
            item.add_marker("slow")
    # With two processes the longest test would otherwise run last, and alone.
    items.sort(key=lambda item: (item.get_closest_marker("slow") is None, "installation" not in item.nodeid))
