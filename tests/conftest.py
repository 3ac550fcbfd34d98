"""Lets the slow tests begin first, and keeps two workers from four threads."""

import gc
import os
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    import pandas as pd

    from pipeline.evaluation.evaluation import Evaluation
    from pipeline.operation.result import CalendarResult

os.environ.setdefault("OMP_NUM_THREADS", "1")  # read once, when torch is imported
gc.set_threshold(100_000, 20, 20)  # as the command line does: what is imported stays, and is searched in vain


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.suffix == ".ipynb":  # a notebook trains
            item.add_marker("slow")
    # With two processes the longest test would otherwise run last, and alone.
    items.sort(key=lambda item: (item.get_closest_marker("slow") is None, "installation" not in item.nodeid))


@pytest.fixture(scope="session")
def outcome() -> "CalendarResult":
    """A finished run on one calendar, with all that a page may show."""
    from tests.reporting.outcomes import rich_outcome  # noqa: PLC0415  only where a test needs it

    return rich_outcome()


@pytest.fixture(scope="session")
def evaluation(outcome: "CalendarResult") -> "Evaluation":
    assert outcome.evaluation is not None
    return outcome.evaluation


@pytest.fixture(scope="session")
def forecasts(outcome: "CalendarResult") -> "pd.DataFrame":
    assert outcome.forecasts is not None
    return outcome.forecasts
