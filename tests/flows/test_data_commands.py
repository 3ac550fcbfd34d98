"""The `tapecast data` commands: each answers, says what it found, and starts nothing that it does not need."""

import io
import json
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from rich.console import Console

from flows.cli import data_commands
from flows.cli.commands import Call
from flows.cli.data_rendering import show_checked
from flows.cli.options import PriceFile, Wanted
from pipeline.errors import NothingUsableError, UsageError
from pipeline.market.bars import FetchedRows
from pipeline.market.calendars import last_completed_session, sessions_between
from pipeline.market.files import open_files
from pipeline.market.importing import import_prices, terms_of
from pipeline.market.specification import YAHOO
from pipeline.market.store.collection import Collection, open_collection, path_of
from pipeline.market.store.commits import commit
from pipeline.market.store.inventory import stored_ticker
from pipeline.market.update import YAHOO_TERMS
from pipeline.market.validation.report import validation_report
from pipeline.settings import Settings
from pipeline.workflow.validation import CheckedPrices
from tests.market.rows import good_rows

from .command import Command

ALL = Wanted((), None)
THEN = datetime(2024, 6, 3, 12, tzinfo=UTC)


@pytest.fixture
def collection(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Collection:
    """A collection "files" of two sound tickers and one with a bad row, restated once."""
    monkeypatch.setenv("TAPECAST_HOME", str(tmp_path / "home"))
    bad = good_rows(150, "2023-08-01", 2)
    bad.loc[140, "low"] = -1.0
    sound = {"AAA": good_rows(150, "2023-08-01"), "BBB": good_rows(150, "2023-08-01", 1), "BAD": bad}
    repaired = {**sound, "AAA": sound["AAA"].assign(close=lambda rows: rows["close"] * 1.0001)}
    for at, frames in ((THEN, sound), (THEN + timedelta(days=1), repaired)):
        path = tmp_path / "bars.csv"
        pd.concat([rows.assign(ticker=name) for name, rows in frames.items()]).to_csv(path, index=False)
        prices = open_files(path)
        made = open_collection(Settings().prices, "files", terms_of(prices))
        list(import_prices(made, prices, prices.tickers(), at))
    return made


def answered(command: Callable[..., int], *arguments: object) -> tuple[int, Any]:
    """The exit status of a command and the one JSON object that it printed."""
    output = io.StringIO()
    status = command(Call(True, output), *arguments)
    (line,) = output.getvalue().splitlines()
    return status, json.loads(line)


def printed(command: Callable[..., int], capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    """What a command prints for people."""
    command(Call(False, sys.stdout), *arguments)
    return capsys.readouterr().out


def test_list_says_what_is_there_and_what_it_takes(collection: Collection, capsys: pytest.CaptureFixture[str]) -> None:
    status, found = answered(data_commands.list_held, None)
    assert (status, list(found)) == (0, ["files"])
    assert {row["ticker"]: (row["sessions"], row["versions"]) for row in found["files"]["tickers"]} == {
        "AAA": (150, 2),
        "BAD": (150, 2),
        "BBB": (150, 2),
    }
    assert found["files"]["disk"]["size_bytes"] == sum(
        path.stat().st_size for path in collection.folder.iterdir() if path.is_file()
    )
    assert "3 tickers, 6 versions" in printed(data_commands.list_held, capsys, "files")


def test_a_damaged_file_is_listed_as_such(collection: Collection, capsys: pytest.CaptureFixture[str]) -> None:
    path_of(collection, "BBB").write_bytes(b"PAR1")
    output = printed(data_commands.list_held, capsys, None)
    assert "damaged BBB:" in output
    assert "150" in output


def test_show_lists_versions_and_restatements_and_the_past(collection: Collection) -> None:
    status, now = answered(data_commands.show, "AAA", "files", None)
    assert status == 0
    assert [version["restated"] for version in now["versions"]] == [0, 150]
    assert now["versions"][1]["restatements"][0]["kind"] == "prices"
    assert Path(now["file"]) == path_of(collection, "AAA")
    _, then = answered(data_commands.show, "AAA", "files", THEN + timedelta(hours=1))
    assert len(then["versions"]) == 1
    assert then["last_bars"][-1]["close"] == pytest.approx(now["last_bars"][-1]["close"] / 1.0001, rel=1e-12)
    assert then["last_bars"][-1]["session"] == str(good_rows(150, "2023-08-01")["session"].iloc[-1].date())


def test_show_prints_for_people(collection: Collection, capsys: pytest.CaptureFixture[str]) -> None:
    output = " ".join(printed(data_commands.show, capsys, "AAA", "files", None).split())
    assert "2 versions, 150 sessions, USD" in output
    assert "prices since 2023-08-02" in output


def test_check_prints_the_validation_report_and_writes_it(collection: Collection, tmp_path: Path) -> None:
    out = tmp_path / "validation.csv"
    status, found = answered(data_commands.check, ALL, None, "files", out)
    assert (status, found["status"]) == (0, "ok")
    assert found["validation"] == {"clean": 2, "usable": 1, "excluded": 0}
    (row,) = found["findings"]
    assert (row["ticker"], row["severity"], row["rows"]) == ("BAD", "rows quarantined", 1)
    table = pd.read_csv(out)
    assert list(table["ticker"]) == ["BAD", "AAA", "BBB"]
    assert list(table["status"]) == ["usable", "clean", "clean"]


def test_check_of_a_file_that_fails_is_partial(collection: Collection, tmp_path: Path) -> None:
    path = tmp_path / "short.csv"
    good_rows(20).assign(ticker="NEW").to_csv(path, index=False)
    status, found = answered(data_commands.check, ALL, PriceFile(path), "files", None)
    assert (status, found["status"]) == (3, "partial")
    assert "20 usable sessions" in found["findings"][0]["found"]
    assert Path(found["file"]).is_file()


def test_many_findings_are_cut_on_the_terminal_and_complete_in_the_file(tmp_path: Path) -> None:
    from pipeline.market.bars import Bars, Exclusion, ValidatedBars  # noqa: PLC0415

    out = tuple(Exclusion(f"T{k}", "no bars") for k in range(60))
    table = validation_report(ValidatedBars(Bars(pd.DataFrame(columns=["ticker"]), (), "close"), (), out))
    checked = CheckedPrices(table)
    console = Console(file=io.StringIO(), width=100)
    show_checked(console, checked, tmp_path / "all.csv")
    output = console.file.getvalue()  # type: ignore[attr-defined]
    assert "60 excluded" in output
    assert "20 more findings" in output


@pytest.mark.parametrize("name", ["all.csv", "all.parquet"])
def test_what_is_exported_can_be_read_again(collection: Collection, tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    status, found = answered(data_commands.export, ALL, path, "as_traded", ("files", None))
    assert (status, found["rows"], found["tickers"]) == (0, 449, 3)
    again = open_files(path)
    assert again.tickers() == ("AAA", "BAD", "BBB")
    np.testing.assert_allclose(
        again.rows("BBB")["close"].astype(float), good_rows(150, "2023-08-01", 1)["close"], rtol=1e-12
    )


def test_an_export_may_be_adjusted_and_of_the_past(collection: Collection, tmp_path: Path) -> None:
    path = tmp_path / "total.parquet"
    answered(data_commands.export, Wanted(("AAA",), None), path, "total_return", ("files", THEN + timedelta(hours=1)))
    exported, rows = pd.read_parquet(path), good_rows(150, "2023-08-01")
    total = (rows["close"] * rows["split"] + rows["dividend"]) / rows["close"].shift()
    np.testing.assert_allclose((exported["close"] / exported["close"].shift())[1:], total[1:], rtol=1e-12)
    assert exported["close"].iloc[-1] == rows["close"].iloc[-1]


def test_an_export_of_nothing_or_to_an_unknown_kind_is_refused(collection: Collection, tmp_path: Path) -> None:
    with pytest.raises(NothingUsableError, match="nothing to export: NOPE: unknown ticker"):
        answered(data_commands.export, Wanted(("NOPE",), None), tmp_path / "x.csv", "as_traded", ("files", None))
    with pytest.raises(UsageError, match=r"expected a name that ends in \.csv or \.parquet"):
        answered(data_commands.export, ALL, tmp_path / "x.xlsx", "as_traded", ("files", None))
    assert list(tmp_path.glob("x.*")) == []


def test_a_bar_without_prices_is_shown_as_one_object(collection: Collection, tmp_path: Path) -> None:
    rows = good_rows(150, "2023-08-01")
    rows.loc[148, ["open", "high", "low", "close"]] = np.nan
    commit(collection, "AAA", FetchedRows(rows, None, "USD", THEN + timedelta(days=3)))
    status, found = answered(data_commands.show, "AAA", "files", None)
    assert (status, found["last_bars"][3]["close"]) == (0, None)


def test_one_bad_name_in_a_file_stops_no_other(tmp_path: Path) -> None:
    path = tmp_path / "bars.csv"
    names = {"AAA": good_rows(), "../../x": good_rows(), "": good_rows()}
    pd.concat([rows.assign(ticker=name) for name, rows in names.items()]).to_csv(path, index=False)
    prices = open_files(path)
    made = open_collection(tmp_path / "prices", "files", terms_of(prices))
    found = {update.ticker: update.state.value for update in import_prices(made, prices, prices.tickers(), THEN)}
    assert found == {"": "missing", "../../x": "missing", "AAA": "updated"}


def test_a_newer_file_is_appended(tmp_path: Path) -> None:
    whole, path = good_rows(), tmp_path / "bars.csv"
    for at, part in enumerate((whole.head(40), whole.tail(25))):
        part.assign(ticker="AAA").to_csv(path, index=False)
        prices = open_files(path)
        made = open_collection(tmp_path / "prices", "files", terms_of(prices))
        (one,) = import_prices(made, prices, ("AAA",), THEN + timedelta(days=at))
    assert (one.state.value, one.added) == ("updated", 20)
    assert len(stored_ticker(made, "AAA").rows) == 60


def test_prune_gives_up_the_past(collection: Collection) -> None:
    status, freed = answered(data_commands.prune, THEN + timedelta(days=2), "files")
    assert (status, freed["versions"], freed["rows"]) == (0, 3, 150)
    assert freed["freed_bytes"] > 0
    _, now = answered(data_commands.show, "AAA", "files", None)
    assert len(now["versions"]) == 1


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("update",), "found no tickers in the store"),
        (("update", "--collection", "x"), "expected it with --path only"),
        (("show", "AAPL", "--as-known", "yesterday"), "expected a day as 2026-10-01"),
        (("show", "AAPL", "--as-known", "2199-01-01"), "has not come yet"),
        (("update", "--path", "absent.csv"), "no file or folder absent.csv"),
        (("update", "--path", ".", "--start", "2020-01-01"), "expected it for prices from Yahoo only"),
        (("update", "--tickers", "A", "--universe", "b.csv"), "name the tickers in one way"),
        (("list",), "the price store is empty"),
        (("show", "AAPL"), "found no collection 'yahoo'"),
        (("update", "--universe", "absent.txt"), "absent.txt"),
        (("check", "--collection", "../x"), "found no collection '../x'"),
        (("prune", "--before", "yesterday"), "yesterday"),
    ],
)
def test_wrong_usage_is_one_clear_error(tmp_path: Path, arguments: tuple[str, ...], words: str) -> None:
    result = Command(tmp_path / "home")("data", *arguments)
    assert (result.returncode, result.stdout) == (2, "")
    assert words in " ".join(result.stderr.replace("│", " ").split())
    assert "Traceback" not in result.stderr


def test_an_update_with_nothing_to_ask_for_starts_nothing(tmp_path: Path) -> None:
    now = datetime.now(UTC)
    days = sessions_between("XNYS", np.datetime64("2020-01-02"), last_completed_session("XNYS", now))[-60:]
    rows = good_rows().assign(session=days.astype("datetime64[s]"))
    yahoo = open_collection(tmp_path / "home" / "prices", YAHOO, YAHOO_TERMS)
    for ticker in ("AAA", "BBB"):
        commit(yahoo, ticker, FetchedRows(rows, None, "USD", now))
    status, found = Command(tmp_path / "home").json("data", "update")
    assert (status, found["states"]) == (0, {"up to date": 2})
    assert not (tmp_path / "home" / "prefect").exists()


def test_the_commands_load_no_prefect_until_they_need_it() -> None:
    slow = ("prefect", "torch", "yfinance", "mlflow")
    code = f"import sys, flows.cli.data_commands; print([name for name in {slow} if name in sys.modules])"
    found = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert found.stdout.strip() == "[]"


@pytest.mark.slow
def test_an_import_by_the_command(tmp_path: Path) -> None:
    path = tmp_path / "bars.csv"
    good_rows(150, "2023-08-01").assign(ticker="AAA").to_csv(path, index=False)
    tapecast = Command(tmp_path / "home")
    status, found = tapecast.json("data", "update", "--path", path, "--collection", "mine")
    assert (status, found["status"], found["states"]) == (0, "ok", {"updated": 1})
    assert {"read", "store", "check"} <= set(found["seconds"])
    assert "1 ticker, 1 version" in tapecast("data", "list").stdout
