"""Tickers of Mumbai without their suffix: every command says so first, and with the exchange no bar is lost."""

import sys
from pathlib import Path

import pandas as pd
import pytest
from mlflow.tracking import MlflowClient

from flows.artifacts import ingest_markdown, markdown
from flows.cli import data_commands
from flows.cli.commands import Call
from flows.cli.experiment_file import read_experiment
from flows.cli.options import PriceFile, Wanted
from flows.definitions import build_flows
from flows.prefect_engine import PREFECT
from pipeline.audit.origins import AuditSpec
from pipeline.errors import NothingUsableError
from pipeline.market.files import open_files
from pipeline.market.specification import FilesSource
from pipeline.market.validation.validate import load_bars
from pipeline.settings import Settings
from pipeline.workflow.progress import NoProgress
from tests.market.rows import NOW

from .command import Command, small_experiment
from .test_several_calendars import random_bars

pytestmark = [
    pytest.mark.timeout(400),
    # mlflow's own business with pandas 4, when it writes a table
    pytest.mark.filterwarnings("ignore:For backward compatibility, 'str' dtypes:pandas.errors.Pandas4Warning"),
]

SESSIONS = 620
NAMES = ("INFY", "TCS", "M&M")
SENTENCE = "3 of 3 tickers read on XNYS have bars on 25 days that XNYS lacks (2022-05-30, 2022-06-20, 2022-07-04"
REMEDY = "These look like XBOM: write INFY.NS or INFY.BO, or name the exchange"


def write_bars(path: Path, calendar: str = "XBOM", names: tuple[str, ...] = NAMES) -> Path:
    frames = [random_bars(calendar, seed, SESSIONS).assign(ticker=name) for seed, name in enumerate(names)]
    pd.concat(frames).to_csv(path, index=False)
    return path


def first_line(printed: str) -> str:
    """What is printed after the stages with their seconds, unwrapped."""
    lines = [line for line in printed.splitlines() if not line.startswith("✓")]
    return " ".join(" ".join(lines).split())


class Messages(NoProgress):
    """Keeps what is reported while a run goes on."""

    def __init__(self) -> None:
        self.kept: list[str] = []

    def message(self, text: str) -> None:
        self.kept.append(text)


@pytest.mark.slow
def test_the_commands_say_so_first_and_lose_no_bar_with_the_exchange(
    tapecast: Command, small: Path, tmp_path: Path
) -> None:
    path, here = write_bars(tmp_path / "bars.csv"), ("--collection", "mumbai")
    update, check = ("data", "update", "--path", path, *here), ("data", "check", *here)
    run = ("backtest", "--experiment", small, "--path", path)
    for arguments, first in ((update, "wrong calendar? "), (check, "wrong calendar? "), (run, "")):
        printed = tapecast(*arguments)
        assert printed.returncode == 3
        assert first_line(printed.stdout).startswith(first + SENTENCE)
        assert REMEDY in first_line(printed.stdout)

    for arguments in ((*update, "--exchange", "XBOM"), check, (*run, "--exchange", "XBOM")):
        status, found = tapecast.json(*arguments)
        assert (status, found["status"], found["calendar_mismatches"]) == (0, "ok", [])
        assert found.get("validation", {}) in ({}, [], {"clean": 3, "usable": 0, "excluded": 0})
    assert found["calendar"] == "XBOM"
    status, exported = tapecast.json("data", "export", tmp_path / "kept.csv", *here)
    assert (status, exported["rows"]) == (0, len(NAMES) * SESSIONS)


def test_bars_are_counted_with_and_without_the_exchange(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TAPECAST_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("COLUMNS", "120")
    path, everything = write_bars(tmp_path / "bars.csv"), Wanted((), None)
    bars = {name: load_bars(open_files(path, exchange=name), (), NOW, 100).bars for name in (None, "XBOM")}
    assert {name: len(one.frame) for name, one in bars.items()} == {None: 3 * (SESSIONS - 25), "XBOM": 3 * SESSIONS}
    for exchange, status in ((None, 3), ("XBOM", 0)):
        file = PriceFile(path, exchange)
        assert data_commands.check(Call(False, sys.stdout), everything, file, "yahoo", tmp_path / "out.csv") == status
        printed = first_line(capsys.readouterr().out)
        assert printed.startswith(f"wrong calendar? {SENTENCE}" if status else "Validation: 3 clean")


@pytest.mark.slow
@pytest.mark.usefixtures("prefect_server")
def test_every_flow_reports_it(home: Path, tmp_path: Path) -> None:
    source, progress = FilesSource(path=write_bars(tmp_path / "bars.csv")), Messages()
    experiment = read_experiment(small_experiment(tmp_path), {}).model_copy(update={"source": source})
    flows = build_flows(progress, PREFECT)
    results = [flows.run(experiment, publish=True), flows.backtest(experiment), flows.forecast()]
    assert [text for text in progress.kept if text.startswith(SENTENCE)] == 3 * progress.kept[:1]
    for result in results:
        assert result.status == "partial"
        (row,) = result.as_json()["calendar_mismatches"]
        assert (row["calendar"], row["looks_like"], len(row["days"])) == ("XNYS", "XBOM", 25)
        assert markdown(result).startswith(f"**Wrong calendar?** {SENTENCE}")
        (one,) = result.calendars
        page = Path(one.report).read_text("utf-8")
        assert page.index(SENTENCE) < page.index('class="lead"')
        run = MlflowClient(tracking_uri=Settings().mlflow_uri).get_run(one.mlflow_run_id)
        assert run.data.tags["mlflow.note.content"].startswith(f"**Wrong calendar?** {SENTENCE}")
        assert run.data.tags["tapecast.status"] == "partial"
    ingested = flows.ingest(source=source, collection="mumbai")
    assert ingested.status == "partial"
    assert ingested.as_json()["calendar_mismatches"][0]["sentence"].startswith(SENTENCE)
    assert SENTENCE in ingest_markdown(ingested)
    audited = flows.audit(experiment, AuditSpec(origins=1, others=0))
    assert audited.status == "partial"
    assert audited.as_json()["calendar_mismatches"][0]["sentence"].startswith(SENTENCE)

    named = source.model_copy(update={"exchange": "XBOM"})
    right = flows.backtest(experiment.model_copy(update={"source": named}))
    assert (right.status, right.calendar_mismatches, right.calendars[0].calendar) == ("ok", [], "XBOM")
    assert "Wrong calendar" not in markdown(right)
    assert "Wrong calendar" not in Path(right.calendars[0].report).read_text("utf-8")


@pytest.mark.usefixtures("prefect_server")
def test_where_no_bar_is_left_the_error_says_so_first(home: Path, tmp_path: Path) -> None:
    path = write_bars(tmp_path / "bars.csv", "24/7", ("BTCUSDT", "ETHUSDT"))
    experiment = read_experiment(small_experiment(tmp_path), {"source": {"kind": "files", "path": path}})
    with pytest.raises(NothingUsableError, match=r"^2 of 2 tickers read on XNYS .* look like 24/7: write BTC-USDT"):
        build_flows(NoProgress(), PREFECT).run(experiment)
