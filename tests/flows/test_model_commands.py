"""The `tapecast model` commands: versions listed, shown, promoted, rolled back and pruned."""

import io
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from flows.cli import model_commands
from flows.cli.commands import Call
from pipeline.errors import FitError, UsageError
from pipeline.operation.aliases import ALIASES
from pipeline.operation.model import DAILY, SAMPLE
from pipeline.operation.model_versions import publish
from pipeline.operation.takeover import FIRST, Takeover
from pipeline.operation.version_files import DESCRIPTION
from pipeline.training.jobs import FitResult
from tests.operation.fitted_models import BACKTEST, NOW, small_fits, trained

from .command import Command

REFUSED = Takeover(False, "Not the champion: XNYS: its validation loss is larger.", {"XNYS/validation_loss": 0.4})


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> list[FitResult]:
    return small_fits(tmp_path_factory.mktemp("fits"), ("climatology",))


@pytest.fixture
def models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, results: list[FitResult]) -> Path:
    """Three versions of `daily`, the last one refused, and one of `sample`."""
    monkeypatch.setenv("TAPECAST_HOME", str(tmp_path))
    folder = tmp_path / "models"
    for k, decision in enumerate((FIRST, FIRST, REFUSED)):
        publish(folder, DAILY, [trained((f"T{k}", "MSFT"), results)], NOW, decision)
    publish(folder, SAMPLE, [trained(("S",), results)], NOW)
    return folder


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


def test_list_says_which_version_forecasts(models: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, found = answered(model_commands.list_versions, None)
    assert (status, list(found["models"])) == (0, [DAILY, SAMPLE])
    daily = found["models"][DAILY]
    assert (daily["champion"], daily["previous"], daily["faults"]) == (2, 1, [])
    assert [(row["number"], row["aliases"]) for row in daily["versions"]] == [
        (1, ["previous"]),
        (2, ["champion"]),
        (3, []),
    ]
    last = daily["versions"][-1]
    assert last["takeover"] == {"accepted": False, "sentence": REFUSED.sentence, "numbers": REFUSED.numbers}
    assert last["calendars"]["XNYS"]["market_members"] == ["T2", "MSFT"]
    assert last["calendars"]["XNYS"]["backtest"]["mlflow_run_id"] == BACKTEST.mlflow_run_id
    assert last["size_bytes"] == sum(
        path.stat().st_size for path in (models / DAILY / "0003").rglob("*") if path.is_file()
    )
    assert list(answered(model_commands.list_versions, SAMPLE)[1]["models"]) == [SAMPLE]
    text = printed(model_commands.list_versions, capsys, DAILY)
    assert "champion" in text
    assert "2024-01-02 22:30" in text


def test_what_is_damaged_is_listed_as_such(models: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (models / DAILY / "0002" / DESCRIPTION).write_text("{}")
    (models / SAMPLE / ALIASES).write_text("{}")
    status, found = answered(model_commands.list_versions, None)
    assert status == 3
    assert [row["number"] for row in found["models"][DAILY]["versions"]] == [1, 3]
    assert "cannot read version 2 of model daily" in found["models"][DAILY]["faults"][0]
    assert "cannot read the aliases of model sample" in found["models"][SAMPLE]["faults"][0]
    assert "damaged cannot read version 2" in printed(model_commands.list_versions, capsys, None)


def test_show_has_the_whole_description_and_reads_every_file(models: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, found = answered(model_commands.show, None, "champion")
    assert (status, found["model"], found["number"], found["aliases"]) == (0, DAILY, 2, ["champion"])
    assert found["calendars"]["XNYS"]["experiment"]["horizons"] == 2
    assert answered(model_commands.show, None, "previous")[1]["number"] == 1
    assert answered(model_commands.show, DAILY, "3")[1]["takeover"]["numbers"] == REFUSED.numbers
    text = printed(model_commands.show, capsys, None, "champion")
    assert BACKTEST.verdict in text
    assert "T1, MSFT" in text
    with pytest.raises(UsageError, match="found 'last' as a version, expected its number, champion or previous"):
        model_commands.show(Call(False, sys.stdout), None, "last")
    path = next((models / DAILY / "0002").rglob("weights.safetensors"))
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    with pytest.raises(FitError, match=r"cannot read version 2 .* is not what its digest says"):
        model_commands.show(Call(False, sys.stdout), None, "champion")


def test_promote_and_rollback_move_the_aliases(models: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert models.is_dir()
    assert answered(model_commands.promote, None, 3) == (0, {"model": DAILY, "champion": 3, "previous": 2})
    assert answered(model_commands.rollback, DAILY) == (0, {"model": DAILY, "champion": 2, "previous": 3})
    assert printed(model_commands.rollback, capsys, None) == "Champion of daily is version 3, previous is version 2\n"
    assert printed(model_commands.promote, capsys, SAMPLE, 1) == "Champion of sample is version 1\n"


def test_prune_deletes_what_is_older_than_the_last_ten(models: Path, results: list[FitResult]) -> None:
    for k in range(10):
        publish(models, DAILY, [trained((f"N{k}",), results)], NOW)
    status, found = answered(model_commands.prune, DAILY)
    assert (status, found["pruned"]) == (0, [1, 2, 3])
    assert found["freed_bytes"] > 0
    assert len(answered(model_commands.list_versions, DAILY)[1]["models"][DAILY]["versions"]) == 10


@pytest.mark.slow
def test_the_commands_on_the_command_line(models: Path, tmp_path: Path) -> None:
    tapecast = Command(tmp_path)
    assert models.is_dir()
    assert tapecast.json("model", "promote", "1") == (0, {"model": DAILY, "champion": 1, "previous": 2})
    assert tapecast.json("model", "show")[1]["number"] == 1
    assert tapecast.json("model", "rollback", "--model", DAILY)[1]["champion"] == 2
    status, refused = tapecast.json("model", "promote", "9")
    assert (status, refused["error"].startswith("found no version 9 of model daily")) == (2, True)
    status, refused = tapecast.json("run", "--model", "mine")
    assert (status, "--publish" in refused["error"]) == (2, True)
    status, refused = tapecast.json("run", "--model", "daily", "--publish")
    assert (status, "found the name daily for a model of sample prices" in refused["error"]) == (2, True)
