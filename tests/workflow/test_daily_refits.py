"""Refits of the daily use case: made once for a fold, refused, failed, undone by a person, or after a damage."""

import json
import shutil
from collections.abc import Mapping
from dataclasses import replace
from datetime import date
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from pipeline.errors import FitError
from pipeline.experiment import Experiment
from pipeline.market.specification import YahooSource
from pipeline.operation import takeover
from pipeline.operation.aliases import Aliases, read_aliases
from pipeline.operation.ledger.database import open_ledger
from pipeline.operation.ledger.reading import listed, rows_of_entry
from pipeline.operation.model_versions import promote, rollback, versions
from pipeline.operation.version_files import VersionDescription, folder_of
from pipeline.settings import Settings
from pipeline.workflow import daily as workflow_daily
from pipeline.workflow.daily import DailyPlan, daily
from pipeline.workflow.daily_result import DailyResult, refit_sentence
from pipeline.workflow.forecast import forecast
from pipeline.workflow.progress import StageTimer
from tests.panels import changed, random_rows
from tests.workflow.builders import Messages
from tests.workflow.daily_job import EXPERIMENT, context_at, evening

LAST = np.datetime64("2024-04-30")
ROWS = {name: random_rows(620, seed, LAST) for seed, name in enumerate(("AAA", "BBB", "CCC"))}
QUARTERLY: Experiment = changed(EXPERIMENT, folds={"refit_months": 3, "validation_months": 3})
BEFORE = np.datetime64("2023-12-29")
NEW_YEAR, SECOND, THIRD = (np.datetime64(f"2024-01-{day:02}") for day in (2, 3, 4))
NEXT_FOLD = np.datetime64("2024-04-01")


def run(day: np.datetime64, experiment: Experiment = QUARTERLY, rows: Mapping[str, pd.DataFrame] = ROWS) -> DailyResult:
    return daily(context_at(evening(day), rows=rows), experiment, DailyPlan())


@pytest.fixture(scope="module")
def lived(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home in which version 1 issued the last session before a fold begins."""
    home = tmp_path_factory.mktemp("lived") / "home"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TAPECAST_HOME", str(home))
        patch.setenv("TAPECAST_TRACKING_URI", "http://127.0.0.1:9")
        assert run(BEFORE).refit is None
    return home


@pytest.fixture(autouse=True)
def models(lived: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of the models of a copy of that home."""
    shutil.copytree(lived, tmp_path / "home")
    monkeypatch.setenv("TAPECAST_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("TAPECAST_TRACKING_URI", "http://127.0.0.1:9")
    return Settings().models


def numbers(models: Path) -> list[int]:
    return [it.number for it in versions(models, "daily")]


def test_a_refused_refit_makes_the_day_partial_and_is_not_repeated(
    models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(takeover, "MARGIN", -0.99)
    result = run(NEW_YEAR)
    assert result.refit is not None
    assert (result.refit["status"], result.refit["version"], result.status) == ("refused", 2, "partial")
    assert "the fold of 2024-01-01 has begun; version 2. Not the champion: XNYS:" in refit_sentence(result.refit)
    for day in (NEW_YEAR, SECOND):
        following = run(day)
        assert (following.refit, following.status, following.calendars[0].version) == (None, "ok", 1)
    assert numbers(models) == [1, 2]


def test_tickers_that_were_replaced_are_refused_once_though_their_folds_begin_on_other_days(models: Path) -> None:
    names = ("DDD", "EEE", "FFF")
    rows = {**ROWS, **{name: random_rows(480, 7 + k, LAST) for k, name in enumerate(names)}}
    source, folds = YahooSource(start=date(2021, 6, 1)), {"refit_months": 12, "validation_months": 3}
    yearly = changed(QUARTERLY, source=source, folds=folds)
    shutil.rmtree(models.parent)
    assert run(BEFORE, yearly, rows).refit is None
    replaced = changed(yearly, tickers=names)
    found = [run(day, replaced, rows).refit for day in (NEW_YEAR, SECOND)]
    assert found[0] is not None
    assert found[1] is None
    assert "it was trained on 0 of the champion's 3 tickers" in found[0]["sentence"]
    first, refused = (it.calendars["XNYS"] for it in versions(models, "daily") if isinstance(it, VersionDescription))
    assert (first.trained_until, refused.trained_until) == ("2023-01-01", "2023-10-01")


def test_what_a_person_chose_stands_until_the_next_fold(models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert run(NEW_YEAR).refit is not None
    assert read_aliases(models / "daily") == Aliases(champion=2, previous=1)
    assert rollback(models, "daily") == Aliases(champion=1, previous=2)
    following = run(SECOND)
    assert (following.refit, following.calendars[0].version) == (None, 1)
    promote(models, "daily", 2)
    promote(models, "daily", 1)
    assert run(THIRD).refit is None
    assert (read_aliases(models / "daily"), numbers(models)) == (Aliases(champion=1, previous=2), [1, 2])
    refit = run(NEXT_FOLD).refit
    assert refit is not None
    assert (refit["status"], refit["version"]) == ("champion", 3)


def test_what_a_person_chose_stands_until_the_experiment_changes(models: Path) -> None:
    other, third = (changed(QUARTERLY, seeds=seeds) for seeds in (2, 3))
    assert run(BEFORE, other).refit is not None
    assert rollback(models, "daily") == Aliases(champion=1, previous=2)
    messages = Messages()
    context = replace(context_at(evening(BEFORE), rows=ROWS), timer=StageTimer(messages))
    assert (daily(context, other, DailyPlan()).refit, numbers(models)) == (None, [1, 2])
    (message,) = [text for text in messages.sent if text.startswith("The experiment is another one")]
    assert (
        "than that of version 1, which forecasts. Version 2 has it: `tapecast model promote 2 --model daily`" in message
    )
    changed_again = run(BEFORE, third).refit
    assert changed_again is not None
    assert (changed_again["status"], changed_again["version"]) == ("champion", 3)
    promote(models, "daily", 1)
    refit = run(NEW_YEAR, third).refit  # what was configured takes over with the fold, as a person requested it
    assert refit is not None
    assert (refit["status"], refit["reason"]) == ("champion", "the fold of 2024-01-01 has begun")


@pytest.mark.parametrize(
    ("error", "shown"),
    [
        (FitError("found a failed fit, expected none"), "found a failed fit, expected none"),
        (ValueError("a fault of ours"), "ValueError: a fault of ours"),
        (ZeroDivisionError(), "ZeroDivisionError: "),
    ],
)
def test_a_refit_that_fails_in_any_way_loses_nothing_of_the_result_and_is_tried_again(
    error: Exception, shown: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(workflow_daily, "run", fail)
    messages = Messages()
    context = replace(context_at(evening(NEW_YEAR), rows=ROWS), timer=StageTimer(messages))
    result = daily(context, QUARTERLY, DailyPlan())
    expected = {"status": "failed", "reason": "the fold of 2024-01-01 has begun", "error": shown}
    assert (result.refit, result.status) == (expected, "partial")
    assert refit_sentence(expected) == f"the fold of 2024-01-01 has begun; it failed: {shown}"
    json.dumps(result.as_json())
    assert {row["ticker"] for row in result.calendars[0].forecasts} == set(ROWS)
    tracebacks = [text for text in messages.sent if text.startswith("Traceback")]
    assert len(tracebacks) == (not isinstance(error, FitError))
    assert all("in fail" in text and shown.strip(": ") in text for text in tracebacks)
    again = run(NEW_YEAR).refit
    assert again == expected


def test_an_interrupt_of_a_refit_ends_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(workflow_daily, "run", interrupt)
    with pytest.raises(KeyboardInterrupt):
        run(NEW_YEAR)


def test_versions_that_cannot_be_listed_are_a_refit_that_failed(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise OSError("no such device")

    monkeypatch.setattr(workflow_daily, "versions", fail)
    result = run(NEW_YEAR)
    assert result.refit is not None
    assert refit_sentence(result.refit) == (
        "found no way to tell whether a refit is due; it failed: OSError: no such device"
    )


# --- A damaged champion ---


def damage(models: Path, number: int) -> None:
    """Change the last byte of a fit of a version."""
    path = next(folder_of(models / "daily", number).glob("fits/*/weights.safetensors"))
    path.write_bytes(path.read_bytes()[:-1] + b"?")


def versions_issued(day: np.datetime64) -> set[int]:
    """The versions that the ledger names in the rows of a session."""
    ledger = open_ledger(Settings().ledger_url)
    rows = pd.concat([rows_of_entry(ledger, "daily", it.sequence) for it in listed(ledger, "daily", 99)])
    return {*rows.loc[rows["as_of"] == pd.Timestamp(day), "version"]}


def test_in_place_of_a_damaged_champion_the_one_before_forecasts_and_a_refit_makes_a_sound_one(models: Path) -> None:
    run(NEW_YEAR)
    damage(models, 2)
    announced: list[DailyResult] = []
    result = daily(context_at(evening(SECOND), rows=ROWS), QUARTERLY, DailyPlan(announce=announced.append))
    assert (result.calendars[0].version, versions_issued(SECOND), result.status) == (1, {1}, "partial")
    warning = result.warnings[0]
    assert warning.startswith("Version 1 of model daily forecasts in place of the champion, which cannot be used: ")
    assert "cannot read version 2 of model daily" in warning
    assert "is not what its digest says (truncated or changed)" in warning
    assert [(it["number"], it["reason"] in warning) for it in result.as_json()["unreadable"]] == [(2, True)]
    assert (announced[0].status, announced[0].warnings) == ("partial", (warning,))
    assert announced[0].calendars[0].forecasts == result.calendars[0].forecasts
    assert result.refit is not None
    assert result.refit["reason"] == "version 2, the champion, cannot be read"
    assert (result.refit["status"], result.refit["version"]) == ("champion", 3)
    assert result.refit["sentence"] == "The champion before, version 2, cannot be read."
    assert read_aliases(models / "daily") == Aliases(champion=3, previous=1)
    following = run(THIRD)
    assert (following.calendars[0].version, following.status, following.refit) == (3, "ok", None)
    assert not any("cannot be used" in warning for warning in following.warnings)


def test_where_no_version_is_sound_one_is_trained_before_the_forecast_and_the_result_says_why(models: Path) -> None:
    damage(models, 1)
    messages = Messages()
    context = replace(context_at(evening(NEW_YEAR), rows=ROWS), timer=StageTimer(messages))
    result = daily(context, QUARTERLY, DailyPlan())
    assert (result.calendars[0].version, result.status, result.refit) == (2, "partial", None)
    expected = "Model daily is trained and tested first, since none of its versions can be used: cannot read version 1"
    assert result.warnings[0].startswith(expected)
    assert messages.sent[0] == result.warnings[0]
    assert "Published as version 2 of model daily. The champion before, version 1, cannot be read." in messages.sent
    assert read_aliases(models / "daily") == Aliases(champion=2)


def test_the_other_commands_refuse_a_damaged_champion(models: Path) -> None:
    damage(models, 1)
    with pytest.raises(FitError, match=r"cannot read version 1 of model daily .*; choose another with `tapecast model"):
        forecast(context_at(evening(NEW_YEAR), rows=ROWS), (), None, model="daily")
