"""Ages in sessions of the calendar: weekends do not age, and the limits are inclusive."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import UsageError
from pipeline.market.calendars import sessions_between
from pipeline.operation.monitoring.ages import DATA_LIMIT_SESSIONS, MODEL_LIMIT_SESSIONS, data_age, model_age

SESSIONS = sessions_between("XNYS", np.datetime64("2022-01-01"), np.datetime64("2023-06-30"))


def test_a_bar_of_friday_is_up_to_date_until_monday_has_closed() -> None:
    until = SESSIONS[np.datetime64("2023-06-23") >= SESSIONS]
    assert data_age(until, np.datetime64("2023-06-23")).sessions == 0
    assert data_age(SESSIONS, np.datetime64("2023-06-23")).sessions == 5
    assert data_age(SESSIONS, np.datetime64("2023-06-25")).sessions == 5
    assert data_age(SESSIONS, np.datetime64("2030-01-01")).sessions == 0


def test_the_limit_itself_needs_no_attention() -> None:
    assert not data_age(SESSIONS, SESSIONS[-1 - DATA_LIMIT_SESSIONS]).exceeded
    assert data_age(SESSIONS, SESSIONS[-2 - DATA_LIMIT_SESSIONS]).exceeded
    assert not model_age(SESSIONS, SESSIONS[-1 - MODEL_LIMIT_SESSIONS]).exceeded
    assert model_age(SESSIONS, SESSIONS[-2 - MODEL_LIMIT_SESSIONS]).exceeded
    assert model_age(SESSIONS, SESSIONS[-3], limit_sessions=1).exceeded


@given(st.lists(st.integers(0, 500), unique=True, max_size=30), st.integers(0, 500))
def test_it_is_the_number_of_sessions_after_the_day(days: list[int], day: int) -> None:
    sessions = np.array(sorted(days), dtype="datetime64[D]")
    at = np.datetime64(day, "D")
    assert model_age(sessions, at).sessions == data_age(sessions, at).sessions == sum(other > day for other in days)


def test_without_a_date_or_in_no_order_there_is_no_age() -> None:
    with pytest.raises(UsageError, match="NaT"):
        data_age(SESSIONS, np.datetime64("NaT"))
    with pytest.raises(UsageError, match="ascending"):
        model_age(SESSIONS[::-1], SESSIONS[0])
