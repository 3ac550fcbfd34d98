"""Sectors: their means by plain loops, and files of them that are read or refused by name."""

import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from pipeline.dataset.covariates.sectors import Sectors, read_sectors, refuse_strangers, sector_mean
from pipeline.errors import UsageError

SHAPE = (5, 6)
VALUES = st.floats(-1e6, 1e6) | st.just(math.nan)
NAMES = st.lists(st.sampled_from(["tech", "banks", None]), min_size=5, max_size=5)


def mean_of(values: list[float]) -> float:
    return sum(values) / len(values) if values else math.nan


@settings(max_examples=200, deadline=None, derandomize=True)
@given(arrays(np.float64, SHAPE, elements=VALUES), arrays(np.bool_, SHAPE), NAMES)
def test_a_sector_s_mean_is_over_its_members_and_the_market_s_stands_in(
    values: np.ndarray, members: np.ndarray, sectors: list[str | None]
) -> None:
    found = sector_mean(values, members, sectors)
    for j in range(SHAPE[1]):
        speaking = [k for k in range(SHAPE[0]) if members[k, j] and math.isfinite(values[k, j])]
        for i in range(SHAPE[0]):
            own = [values[k, j] for k in speaking if sectors[i] is not None and sectors[k] == sectors[i]]
            expected = mean_of(own or [values[k, j] for k in speaking])
            expected = expected if math.isfinite(values[i, j]) else math.nan
            assert found[i, j] == pytest.approx(expected, rel=1e-9, abs=1e-9, nan_ok=True)


def test_the_own_ticker_is_among_the_members_of_its_sector() -> None:
    values = np.array([[1.0], [3.0], [50.0]])
    found = sector_mean(values, np.ones((3, 1), dtype=bool), ("tech", "tech", "banks"))
    assert found.ravel().tolist() == [2.0, 2.0, 50.0]


def written(folder: Path, text: str) -> Path:
    path = folder / "sectors.csv"
    path.write_text(text, encoding="utf-8")
    return path


def test_a_file_is_read_whatever_the_case_of_its_names_and_the_order_of_its_columns(tmp_path: Path) -> None:
    path = written(
        tmp_path, "\ufeffSector, Name ,TICKER\nTech,Apple,aapl\n\n Banks ,JPMorgan,JPM\n,Nothing,XYZ\n , ,\n"
    )
    sectors = read_sectors(path)
    assert sectors.of(("AAPL", "jpm", "XYZ", "MSFT")) == ("Tech", "Banks", None, None)
    assert sectors.told_by == str(path)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "found the columns none in .*expected ticker and sector"),
        ("ticker,industry\nA,Tech\n", "found the columns ticker, industry in .*expected ticker and sector"),
        ("ticker,sector,sector\nA,Tech,Tech\n", "expected ticker and sector, each once"),
        ("ticker,sector\nA,Tech\nB\n", "line 3 of .*found 'B', expected 2 cells"),
        ("ticker,sector\nA,Tech\n\na,Banks\n", "line 4 of .*found 'A', expected each ticker once .*on line 2 too"),
        ("ticker,sector\nA B,Tech\n", "line 2 of .*found 'A B', expected a ticker"),
        ("ticker,sector\nA,Tech\nB,\nB,Banks\n", "line 4 of .*each ticker once"),
    ],
)
def test_what_is_not_as_expected_is_told_with_its_line(tmp_path: Path, text: str, told: str) -> None:
    with pytest.raises(UsageError, match=told):
        read_sectors(written(tmp_path, text))


def test_a_file_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"cannot read sectors from .*none\.csv.*expected CSV with ticker,sector"):
        read_sectors(tmp_path / "none.csv")
    (tmp_path / "binary.csv").write_bytes(b"\xff\xfe\x00ticker")
    with pytest.raises(UsageError, match="cannot read sectors from"):
        read_sectors(tmp_path / "binary.csv")


def test_sectors_of_strangers_alone_are_refused_and_one_that_is_known_is_enough() -> None:
    sectors = Sectors("sectors.csv", {"AAPL": "Tech"})
    refuse_strangers(sectors, ("MSFT", "aapl"))
    refuse_strangers(None, ("MSFT",))
    with pytest.raises(UsageError, match=r"no sector of MSFT, IBM in sectors.csv \(it has AAPL\)"):
        refuse_strangers(sectors, ("MSFT", "IBM"))
