"""Files of sectors: what is read, and what is refused with its line."""

from pathlib import Path

import pytest

from pipeline.dataset.covariates.sectors import Sectors, read_sectors, refuse_unmatched_sectors
from pipeline.errors import UsageError


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
    assert sectors.source_name == str(path)


@pytest.mark.parametrize(
    ("text", "message"),
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
def test_what_is_not_as_expected_is_reported_with_its_line(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        read_sectors(written(tmp_path, text))


def test_a_file_that_cannot_be_read_is_reported(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"cannot read sectors from .*none\.csv.*expected CSV with ticker,sector"):
        read_sectors(tmp_path / "none.csv")
    (tmp_path / "binary.csv").write_bytes(b"\xff\xfe\x00ticker")
    with pytest.raises(UsageError, match="cannot read sectors from"):
        read_sectors(tmp_path / "binary.csv")


def test_sectors_of_other_tickers_alone_are_refused_and_one_of_a_ticker_is_enough() -> None:
    sectors = Sectors("sectors.csv", {"AAPL": "Tech"})
    refuse_unmatched_sectors(sectors, ("MSFT", "aapl"))
    refuse_unmatched_sectors(None, ("MSFT",))
    with pytest.raises(UsageError, match=r"no sector of MSFT, IBM in sectors.csv \(it has AAPL\)"):
        refuse_unmatched_sectors(sectors, ("MSFT", "IBM"))
