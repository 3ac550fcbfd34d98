"""After pruning the last days can be replayed bit for bit, and the next day is issued as if nothing was removed."""

from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest

from pipeline.operation.ledger.database import open_ledger
from pipeline.operation.ledger.reading import listed
from pipeline.operation.lifetimes import Lifetimes
from pipeline.settings import Settings
from pipeline.workflow.prune import prune
from pipeline.workflow.replay import replay
from pipeline.workflow.run_context import new_context
from tests.workflow.daily_job import DAYS, evening, live_through

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]

SHORTEST = Lifetimes.model_validate(dict.fromkeys(Lifetimes.model_fields, 2))


def prune_at(days: float) -> dict[str, int]:
    """What goes so many days after the second evening."""
    now = evening(DAYS[1]) + timedelta(days=days)
    result = prune(new_context("prune", clock=lambda: now), SHORTEST)
    assert result.status == "ok"
    return {it.kind: it.count for it in result.removed}


def test_what_was_issued_lately_is_replayed_and_the_next_day_goes_on(home: Path) -> None:
    live_through(DAYS)
    states = home / "models" / "daily" / "states" / "XNYS"
    prune_at(1.5)  # the second entry is younger than two days, the first is not
    assert len(list(states.iterdir())) == 2, "the replay of the second begins with the state after the first"
    assert replay(new_context("forecast"), "daily", 2).agreement == "identical"
    assert prune_at(1000)["states"] == 1, "all but the one that the next day goes on from"
    live_through(np.array(["2023-12-26"], dtype="datetime64[D]"))
    last, *_ = listed(open_ledger(Settings().ledger_url), "daily", 10)
    assert last.sequence == 3
    assert replay(new_context("forecast"), "daily", 3).agreement == "identical"
