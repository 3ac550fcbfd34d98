"""The command line as a subprocess: what it prints, what it returns, and how fast it answers."""

import subprocess
import sys
import time
from pathlib import Path
from statistics import median

import pandas as pd
import pytest

from .command import TAPECAST, Command

HEAVY = ("torch", "mlflow", "prefect", "matplotlib", "pandas", "yfinance")
FORECAST_KEYS = {
    *("ticker", "as_of", "horizon", "target_session", "reference_close", "age_sessions", "forecaster"),
    *("q05", "q10", "q25", "q50", "q75", "q90", "q95"),
}
SCORE_KEYS = {
    *("pinball", "crps", "coverage_50", "coverage_80", "coverage_90", "rmse_return", "directional_accuracy"),
    *("pinball_error", "coverage_80_error", "winkler_80"),
}
BASELINES = {"climatology", "last_close", "drift", "ewma", "linear"}
BENCHMARKS = {"garch", "har", "ridge"}
"""Those of a run whose experiment names none."""


def write_bars(path: Path, **tickers: int) -> pd.DataFrame:
    """Write a long CSV of plain random walks on real sessions and return it; the number is of sessions."""
    from pipeline.market.sources import open_source  # noqa: PLC0415
    from pipeline.market.specification import SyntheticSource  # noqa: PLC0415

    source = open_source(SyntheticSource(process="random_walk", sessions=620, tickers=len(tickers)))
    frames = [
        source.rows(made).tail(count).assign(ticker=name)
        for (name, count), made in zip(tickers.items(), source.tickers(), strict=True)
    ]
    frame = pd.concat(frames).rename(columns={"session": "date"})
    frame.to_csv(path, index=False)
    return frame


def test_help_answers_within_half_a_second() -> None:
    seconds = []
    for _ in range(3):
        began = time.perf_counter()
        subprocess.run([TAPECAST, "--help"], check=True, capture_output=True)
        seconds.append(time.perf_counter() - began)
    assert median(seconds) < 0.5


def test_the_command_line_starts_without_heavy_imports() -> None:
    code = f"import sys, flows.cli.app; print([name for name in {HEAVY} if name in sys.modules])"
    found = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert found.stdout.strip() == "[]"


@pytest.mark.slow
def test_run_prints_one_json_object_and_is_repeatable(tapecast: Command, small: Path) -> None:
    status, first = tapecast.json("run", "--experiment", small)
    assert (status, first["status"], "error" in first) == (0, "ok", False)
    assert {frozenset(row) for row in first["forecasts"]} == {frozenset(FORECAST_KEYS)}
    assert len(first["forecasts"]) == 3 * 2
    assert set(first["scores"]) == set(first["skill"]) == set(first["dm_p"]) == {"1", "2"}
    assert set(first["scores"]["1"]) == {"network", "combined", "calibrated", *BASELINES, *BENCHMARKS}
    assert all(set(scores) == SCORE_KEYS for scores in first["scores"]["1"].values())
    assert first["scores"]["1"]["last_close"]["directional_accuracy"] is None
    assert set(first["skill"]["2"]) == set(first["dm_p"]["2"]) == {"network", *BASELINES, *BENCHMARKS}
    assert {row["forecaster"] for row in first["forecasts"]} == {"calibrated"}
    assert set(first["weights"]["1"]) == {"network", *BASELINES, *BENCHMARKS} - {"last_close", "drift"}
    assert {"load", "features", "fit", "evaluate", "forecast", "report", "record"} <= set(first["seconds"])
    assert Path(first["report"]).read_text("utf-8").startswith("<!DOCTYPE html>")
    fits = {path.parent.name: path.stat().st_mtime_ns for path in (tapecast.home / "fits").glob("*/fit.json")}
    status, again = tapecast.json("run", "--experiment", small)
    assert status == 0
    assert again["forecasts"] == first["forecasts"]
    assert again["scores"] == first["scores"]
    assert {path.parent.name: path.stat().st_mtime_ns for path in (tapecast.home / "fits").glob("*/fit.json")} == fits
    assert not list((tapecast.home / "work").iterdir())


@pytest.mark.slow
def test_forecast_of_a_ticker_the_model_was_not_trained_on(tapecast: Command, small: Path, tmp_path: Path) -> None:
    assert tapecast.json("run", "--experiment", small, "--publish")[0] == 0
    from pipeline.operation.model_versions import read_version  # noqa: PLC0415

    model = read_version(tapecast.home / "models", "synthetic").models["XNYS"].market_members
    path = tmp_path / "bars.csv"
    write_bars(path, **dict.fromkeys((*model, "NEW"), 620))
    status, found = tapecast.json("forecast", "--model", "synthetic", "--tickers", f"{model[0]},NEW", "--path", path)
    assert status == 0
    assert found["unseen"] == ["NEW"]
    assert [row["ticker"] for row in found["forecasts"]] == ["NEW", "NEW", model[0], model[0]]


@pytest.mark.slow
def test_bad_tickers_are_excluded_and_the_others_are_forecast(tapecast: Command, small: Path, tmp_path: Path) -> None:
    path = tmp_path / "bars.csv"
    frame = write_bars(path, GOOD=620, FINE=620, SHORT=60, BAD=620)
    bad = (frame["ticker"] == "BAD") & (frame["date"] == frame["date"].max())
    frame.loc[bad, "low"] = -1.0
    frame.to_csv(path, index=False)
    names = "GOOD,FINE,SHORT,BAD,NOPE"
    status, found = tapecast.json("run", "--experiment", small, "--path", path, "--tickers", names)
    assert (status, found["status"]) == (3, "partial")
    origins = {row["ticker"]: row["as_of"] for row in found["forecasts"]}
    assert set(origins) == {"GOOD", "FINE", "BAD"}
    assert origins["BAD"] < origins["GOOD"]
    ((stale, why),) = [(row["ticker"], row["reason"]) for row in found["stale"]]
    assert (stale, "quarantined: found low -1" in why) == ("BAD", True)
    reasons = {row["ticker"]: row["reason"] for row in found["excluded"]}
    assert set(reasons) == {"SHORT", "NOPE"}
    assert "at least 100 are needed" in reasons["SHORT"]
    assert "unknown ticker" in reasons["NOPE"]


def test_nothing_usable_is_exit_4(tapecast: Command, tmp_path: Path) -> None:
    path = tmp_path / "bars.csv"
    write_bars(path, SHORT=30)
    status, found = tapecast.json("backtest", "--path", path)
    assert (status, found["status"]) == (4, "failed")
    assert [row["ticker"] for row in found["excluded"]] == ["SHORT"]
    assert "30 usable sessions" in found["error"]
    assert "forecasts" not in found


@pytest.mark.slow
def test_fixed_split_is_one_fold(tapecast: Command, small: Path) -> None:
    dates = ("--train-end", "2023-12-29", "--valid-end", "2024-05-31")
    status, found = tapecast.json("backtest", "--experiment", small, *dates)
    assert status == 0
    assert "forecasts" not in found
    page = Path(found["report"]).read_text("utf-8")
    assert "2023-12-29" in page
    assert "2024-05-31" in page


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("run", "--experiment", "absent.toml"), "no experiment file"),
        (("run", "--path", "absent.csv"), "no file or folder absent.csv"),
        (("run", "--source", "files"), "source.files.path"),
        (("run", "--device", "cuda"), "no CUDA device"),
        (("backtest", "--train-end", "2024-01-01"), "needs both train_end and valid_end"),
        (("run", "--out", "/proc/nowhere"), "cannot write in /proc/nowhere"),
        (("forecast",), "run `tapecast run --publish` first"),
    ],
)
def test_wrong_usage_is_one_clear_error(tmp_path: Path, arguments: tuple[str, ...], words: str) -> None:
    result = Command(tmp_path / "home")(*arguments)
    assert result.returncode == 2
    last = result.stderr.strip().splitlines()[-1]
    assert last.startswith("error: ")
    assert words in last
    assert "Traceback" not in result.stderr
    assert result.stdout == ""


@pytest.mark.parametrize("name", ["my%20home", "home?"])
def test_a_home_that_is_another_folder_in_a_database_address_is_refused(tmp_path: Path, name: str) -> None:
    found = Command(tmp_path / name)("sine")
    assert found.returncode == 2
    assert f"{name} has a percent escape or a question mark" in " ".join(found.stderr.split())
    assert "Traceback" not in found.stderr


def test_unknown_key_in_the_file_is_named_with_the_one_meant(tmp_path: Path) -> None:
    (tmp_path / "typo.toml").write_text("[training]\nmax_stepz = 3\n")
    result = Command(tmp_path / "home")("run", "--experiment", tmp_path / "typo.toml", "--json")
    assert result.returncode == 2
    assert '"status": "failed"' in result.stdout
    assert "unknown key training.max_stepz; did you mean max_steps?" in result.stdout


@pytest.mark.parametrize("option", [("--colour", "blue"), ("--source", "moon"), ("--tickers", " , ")])
def test_wrong_options_are_exit_2_and_json_where_requested(tmp_path: Path, option: tuple[str, str]) -> None:
    assert Command(tmp_path)("run", *option).returncode == 2
    status, found = Command(tmp_path).json("run", *option)
    assert (status, found["status"]) == (2, "failed")
    assert option[0] in found["error"]


@pytest.mark.slow
def test_forecast_where_the_source_has_none_of_the_models_tickers(
    tapecast: Command, small: Path, tmp_path: Path
) -> None:
    assert tapecast.json("run", "--experiment", small, "--publish")[0] == 0
    write_bars(tmp_path / "bars.csv", ZA=620, ZB=620)
    other = ("--tickers", "ZA,ZB", "--path", tmp_path / "bars.csv")
    status, refused = tapecast.json("forecast", *other)
    assert (status, "no published model daily" in refused["error"]) == (2, True), "that model is of made prices"
    status, found = tapecast.json("forecast", "--model", "synthetic", *other)
    assert (status, found["unseen"]) == (0, ["ZA", "ZB"])


def test_a_ticker_whose_price_never_moves_is_excluded(tapecast: Command, small: Path, tmp_path: Path) -> None:
    frame = write_bars(tmp_path / "bars.csv", STILL=620)
    frame[["open", "high", "low", "close", "adj_close"]] = 10.0
    frame.to_csv(tmp_path / "bars.csv", index=False)
    status, found = tapecast.json("run", "--experiment", small, "--path", tmp_path / "bars.csv", "--tickers", "STILL")
    assert (status, found["status"]) == (4, "failed")
    assert "expected prices that move" in found["excluded"][0]["reason"]
