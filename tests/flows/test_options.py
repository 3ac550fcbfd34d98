"""The options that name an instant and the tickers."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import typer

from flows.cli.options import PriceFile, SourceName, Wanted, file_named, instant, names_in, source_values, wanted_by


def test_a_day_alone_means_its_end() -> None:
    assert instant(None) is None
    assert instant("2024-03-05") == datetime(2024, 3, 6, tzinfo=UTC)
    assert instant("20240305") == datetime(2024, 3, 6, tzinfo=UTC)
    assert instant("2024-12-31") == datetime(2025, 1, 1, tzinfo=UTC)


def test_today_means_now() -> None:
    began = datetime.now(UTC)
    found = instant(f"{began:%Y-%m-%d}")
    assert found is not None
    assert began <= found <= datetime.now(UTC)


def test_a_time_without_a_zone_is_in_utc() -> None:
    assert instant("2024-03-05T22:30:05") == datetime(2024, 3, 5, 22, 30, 5, tzinfo=UTC)
    assert instant("2024-03-05T22:30:05+02:00") == datetime(2024, 3, 5, 20, 30, 5, tzinfo=UTC)
    assert instant("2024-03-05T22:30:05-05:00") == datetime(2024, 3, 6, 3, 30, 5, tzinfo=UTC)


def test_a_time_in_the_future_is_refused() -> None:
    tomorrow = datetime.now(UTC) + timedelta(days=1)
    for written in (f"{tomorrow:%Y-%m-%d}", tomorrow.isoformat(), "2199-01-01", "9999-12-31"):
        with pytest.raises(typer.BadParameter, match="has not come yet"):
            instant(written)


@pytest.mark.parametrize("written", ["yesterday", "", "2024-13-01", "2024-02-30", "05.03.2024", "2024-03-05T25:00"])
def test_text_that_is_no_time_is_refused(written: str) -> None:
    with pytest.raises(typer.BadParameter, match="expected a day as 2026-10-01 or a time as 2026-10-01T22:30:05"):
        instant(written)


def test_tickers_are_named_in_one_way() -> None:
    listed = Path("list.txt")
    assert wanted_by(None, None) == Wanted((), None)
    assert wanted_by("AAPL, MSFT,", None).overrides == {"tickers": ("AAPL", "MSFT"), "universe": None}
    assert wanted_by(None, listed).overrides == {"tickers": (), "universe": listed}
    assert wanted_by(None, None).overrides == {}
    with pytest.raises(typer.BadParameter, match="name the tickers in one way"):
        wanted_by("AAPL", listed)
    with pytest.raises(typer.BadParameter, match="no ticker named"):
        names_in(" , ")


def test_a_path_and_an_exchange_mean_a_source_of_files() -> None:
    path = Path("p.csv")
    assert source_values(None, None, None) == {}
    assert source_values(None, path, None) == {"source": {"kind": "files", "path": path}}
    assert source_values(None, path, "nse") == {"source": {"kind": "files", "path": path, "exchange": "XBOM"}}
    assert source_values(None, None, "XLON") == {"source": {"kind": "files", "exchange": "XLON"}}  # of a TOML file's
    assert source_values(SourceName.FILES, path, "XLON")["source"]["exchange"] == "XLON"
    assert file_named(None, None) is None
    assert file_named(path, "LSE") == PriceFile(path, "XLON")


def test_an_exchange_that_is_unknown_or_without_a_file_is_refused() -> None:
    with pytest.raises(typer.BadParameter, match="found 'XBON' as an exchange, expected one of 24/5, 24/7, BVMF"):
        source_values(None, Path("p.csv"), "XBON")
    with pytest.raises(typer.BadParameter, match="found it with --source yahoo, expected --path"):
        source_values(SourceName.YAHOO, None, "XBOM")
    with pytest.raises(typer.BadParameter, match="found it without a file, expected --path too"):
        file_named(None, "XBOM")
