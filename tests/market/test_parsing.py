"""Dates as vendors write them."""

import numpy as np
import pandas as pd
import pytest

from pipeline.market.parsing import session_dates


@pytest.mark.parametrize(
    ("written", "offset"),
    [
        ("2024-01-02", None),
        ("2024-01-02 00:00:00", None),
        ("2024-01-02T16:00", None),
        ("2024-01-02 00:00:00-05:00", -300),
        ("2024-01-02T23:30:00.000+0530", 330),
        ("2024-01-02 00:00:00Z", 0),
        ("2024-01-02 00:00:00 UTC", 0),
    ],
)
def test_the_session_is_the_local_wall_date(written: str, offset: float | None) -> None:
    dates = session_dates(pd.Series([written], dtype="str"))
    assert str(dates.day[0]) == "2024-01-02"
    np.testing.assert_equal(dates.offset, [np.nan if offset is None else offset])


@pytest.mark.parametrize(
    "written", ["", "02/01/2024", "2024-13-01", "2024-1-2", "today", "20240102", None, 20240102, 4.5]
)
def test_what_is_no_iso_date_is_not_guessed(written: object) -> None:
    dates = session_dates(pd.Series([written, "2024-01-02"], dtype=object))
    assert np.isnat(dates.day[0])
    assert str(dates.day[1]) == "2024-01-02"


@pytest.mark.parametrize("odd", ["-024-01-02", "2024-01- 2", "2024-1-002", "+024-01-02", "٢٠٢٤-٠١-٠٢", "2024-01-02"])
@pytest.mark.parametrize("kind", ["str", object])
def test_no_row_has_a_say_in_how_another_is_read(odd: str, kind: type | str) -> None:
    alone = session_dates(pd.Series([odd], dtype=kind)).day[0]
    among_others = session_dates(pd.Series([odd, "2024-01-02 00:00:00-05:00", None], dtype=kind)).day[0]
    assert str(alone) == str(among_others) == ("2024-01-02" if odd == "2024-01-02" else "NaT")


def test_real_timestamps_are_taken_as_they_are() -> None:
    naive = pd.Series(pd.to_datetime(["2024-01-02 16:00", None]))
    assert [str(day) for day in session_dates(naive).day] == ["2024-01-02", "NaT"]
    aware = pd.Series(pd.to_datetime(["2024-01-02", "2024-07-02"])).dt.tz_localize("America/New_York")
    assert [str(day) for day in session_dates(aware).day] == ["2024-01-02", "2024-07-02"]
    assert session_dates(aware).offset.tolist() == [-300, -240]
    assert session_dates(aware.astype(object)).offset.tolist() == [-300, -240]
