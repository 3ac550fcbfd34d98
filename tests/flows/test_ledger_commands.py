"""The `tapecast ledger` commands: each answers, as text and as JSON, and makes nothing by reading."""

import io
import json
import sqlite3
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from flows.cli import ledger_commands
from flows.cli.commands import Call
from pipeline.errors import LedgerError, UsageError
from pipeline.operation.ledger.database import open_ledger
from pipeline.operation.ledger.grades import append_grades, scored
from pipeline.operation.ledger.reading import ungraded
from pipeline.operation.ledger.writing import append
from pipeline.settings import Settings
from tests.operation.ledger.issued import days, issue

from .command import TAPECAST, Command

DAYS = days(3)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home whose ledger has three issues, the first of them graded in part."""
    monkeypatch.setenv("TAPECAST_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("COLUMNS", "200")
    ledger = open_ledger(Settings().ledger_url)
    for day in DAYS:
        append(ledger, issue(as_of=day))
    rows = ungraded(ledger, "daily", DAYS[1])
    outcomes = rows[["ticker", "as_of", "horizon"]].drop_duplicates().assign(outcome=0.01)
    append_grades(ledger, "daily", scored(rows, outcomes), issue(as_of=DAYS[1]).issued_at, None)
    return tmp_path / "home"


def as_json(command: Callable[[Call], int]) -> tuple[int, dict[str, Any]]:
    output = io.StringIO()
    status = command(Call(True, output))
    return status, json.loads(output.getvalue())


def as_text(command: Callable[[Call], int], capsys: pytest.CaptureFixture[str]) -> str:
    assert command(Call(False, io.StringIO())) == 0
    return capsys.readouterr().out


def test_list(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, values = as_json(lambda call: ledger_commands.list_entries(call, "daily", 2))
    assert (status, [entry["sequence"] for entry in values["entries"]]) == (0, [3, 2])
    assert values["entries"][0]["backtest"]["date"] == "2023-12-01"
    text = as_text(lambda call: ledger_commands.list_entries(call, "daily", 20), capsys)
    assert values["entries"][0]["digest"][:12] in text
    assert str(DAYS[0]) in text


def test_show(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _, values = as_json(lambda call: ledger_commands.show(call, "daily", None))
    assert (values["sequence"], len(values["forecasts"])) == (3, 12)
    (row,) = [it for it in values["forecasts"] if it["ticker"] == "MSFT" and it["horizon"] == 2 and it["published"]]
    issued = issue(as_of=DAYS[2]).rows.query("ticker == 'MSFT' and horizon == 2 and published")
    assert row["q95"] == pytest.approx(float(issued["reference_close"].iloc[0] * np.exp(issued["q95"].iloc[0])))
    text = as_text(lambda call: ledger_commands.show(call, "daily", 1), capsys)
    assert f"{row['status']}" in text
    assert "The network is better" in text
    with pytest.raises(UsageError, match="found no issue 9"):
        ledger_commands.show(Call(True, io.StringIO()), "daily", 9)


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_export(home: Path, suffix: str) -> None:
    path = home / f"out{suffix}"
    _, values = as_json(lambda call: ledger_commands.export(call, "daily", path, (DAYS[1], None)))
    rows = pd.read_csv(path) if suffix == ".csv" else pd.read_parquet(path)
    assert (values["rows"], len(rows)) == (24, 24)
    with pytest.raises(UsageError, match=r"expected the name of a \.csv or \.parquet file"):
        ledger_commands.export(Call(True, io.StringIO()), "daily", home / "out.txt", (None, None))


def test_grades(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _, values = as_json(lambda call: ledger_commands.grades(call, "daily", ("forecaster",), None))
    assert [(it["status"], it["forecaster"], it["rows"]) for it in values["grades"]] == [
        ("on time", "ewma", 3),
        ("on time", "network", 3),
    ]
    text = as_text(lambda call: ledger_commands.grades(call, "daily", ("horizon", "forecaster"), None), capsys)
    assert "network" in text
    assert "graded yet" in as_text(lambda call: ledger_commands.grades(call, "daily", (), DAYS[2]), capsys)
    with pytest.raises(LedgerError, match="found the group 'day'"):
        ledger_commands.grades(Call(True, io.StringIO()), "daily", ("day",), None)


def test_verify(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "as written daily: 3 issues, 36 rows" in as_text(lambda call: ledger_commands.verify(call, "daily"), capsys)
    with sqlite3.connect(home / "ledger" / "ledger.db") as connection:
        connection.execute("DROP TRIGGER ledger_forecasts_no_update")
        connection.execute("UPDATE ledger_forecasts SET q50 = q50 + 1e-9 WHERE sequence = 2 AND horizon = 1")
    connection.close()
    status, values = as_json(lambda call: ledger_commands.verify(call, "daily"))
    assert (status, values["status"], values["fault"]["sequence"]) == (1, "failed", 2)
    assert ledger_commands.verify(Call(False, io.StringIO()), "daily") == 1
    assert "not as written daily, issue 2" in capsys.readouterr().out


def test_copy(home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("TAPECAST_LEDGER", f"sqlite:///{home}/copied.db")
    status, values = as_json(ledger_commands.copy)
    assert (status, values["status"], values["copied"], values["rows"]["ledger_forecasts"]) == (0, "ok", True, 36)
    assert [(it["model"], it["entries"], it["fault"]) for it in values["models"]] == [("daily", 3, None)]
    assert as_json(ledger_commands.copy)[1]["copied"] is False
    assert "copied.db: nothing copied, as it has all of" in as_text(ledger_commands.copy, capsys)
    assert "as written daily: 3 issues" in as_text(lambda call: ledger_commands.verify(call, "daily"), capsys)
    monkeypatch.setenv("TAPECAST_LEDGER", f"sqlite:///{home}/again.db")
    text = as_text(ledger_commands.copy, capsys)
    assert "as written daily: 3 issues, 36 rows" in text
    assert f"again.db: {sum(values['rows'].values())} rows copied of {home}/ledger/ledger.db" in text


@pytest.mark.slow
def test_the_command_line(home: Path, tmp_path: Path) -> None:
    command = Command(home)
    status, values = command.json("ledger", "list", "--limit", "1")
    assert (status, values["entries"][0]["sequence"]) == (0, 3)
    assert command("ledger", "verify").returncode == 0
    assert (
        command("ledger", "export", tmp_path / "a.csv", "--since", str(DAYS[1]), "--until", str(DAYS[1])).returncode
        == 0
    )
    assert len(pd.read_csv(tmp_path / "a.csv")) == 12
    assert command("ledger", "grades", "--by", "version").returncode == 0
    assert command("ledger", "show", "2").returncode == 0
    refused = command("ledger", "list", "--model", "weekly")
    assert (refused.returncode, "one of: daily" in refused.stderr) == (2, True)
    status, values = Command(tmp_path / "empty").json("ledger", "verify")
    assert (status, values["status"]) == (2, "failed")
    assert not (tmp_path / "empty" / "ledger").exists()


@pytest.mark.slow
def test_verify_gives_up_a_server_of_mlflow_that_does_not_answer_within_seconds(home: Path) -> None:
    usual = {name: value for name, value in Command(home).environment.items() if not name.startswith("MLFLOW_")}
    away = {**usual, "TAPECAST_TRACKING_URI": "http://127.0.0.1:9"}
    command = [TAPECAST, "ledger", "verify", "--json"]
    found = subprocess.run(command, env=away, capture_output=True, text=True, timeout=60, check=True)
    assert "the MLflow store http://127.0.0.1:9" in json.loads(found.stdout)["not_compared"]
