"""Prices into the store and out again: what the flow ingest shows, and the exit status of a partial success."""

import io
import json
from collections.abc import Callable, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterKey
from rich.console import Console

from flows.cli import data_commands
from flows.cli.options import Wanted
from flows.definitions import build_flows
from flows.prefect_engine import PREFECT
from pipeline.market.bars import FetchedRows
from pipeline.market.files import open_files
from pipeline.market.importing import terms_of
from pipeline.market.specification import YAHOO, FilesSource
from pipeline.market.store.collection import Collection, open_collection, path_of
from pipeline.market.store.commits import commit
from pipeline.market.update import YAHOO_TERMS
from pipeline.settings import Settings
from pipeline.workflow.ingest import IngestResult
from pipeline.workflow.progress import NoProgress
from tests.market.rows import good_rows
from tests.workflow.price_files import NOW, ROWS, written

pytestmark = [pytest.mark.timeout(300)]

ALL = Wanted((), None)


def with_small_miss() -> pd.DataFrame:
    """The rows with a high a little below its close, which validation repairs."""
    rows = ROWS.copy()
    rows.loc[9, "high"] = max(rows["open"][9], rows["close"][9]) * 0.999
    return rows


def without_its_split() -> pd.DataFrame:
    """The rows without the split that made their prices fall to a quarter."""
    return ROWS.assign(split=1.0)


# --- What the flow shows ---


def shown(key: str) -> Any:
    """The one artifact of a key: its text, or a table's rows; None where there is none."""
    with get_client(sync_client=True) as client:
        found = client.read_artifacts(artifact_filter=ArtifactFilter(key=ArtifactFilterKey(any_=[key])))
    if not found:
        return None
    (artifact,) = found
    return artifact.data if artifact.type == "markdown" else json.loads(str(artifact.data))


@pytest.fixture
def ingested(home: Path, tmp_path: Path, prefect_server: str) -> Callable[..., IngestResult]:
    """What the flow makes of a file with these frames."""

    def ingest(collection: str, **frames: pd.DataFrame) -> IngestResult:
        path = written(tmp_path / "bars.csv", {name.replace("_", "/"): rows for name, rows in frames.items()})
        return build_flows(NoProgress(), PREFECT).ingest(source=FilesSource(path=path), collection=collection)

    return ingest


def test_findings_become_artifacts_that_name_them(ingested: Callable[..., IngestResult]) -> None:
    result = ingested("half_good", AAA=ROWS, REP=with_small_miss(), BAD=without_its_split(), A_B=ROWS)
    assert result.status == "partial"
    summary = shown("ingest-half-good")
    assert summary.startswith("**partial**")
    assert "1 missing, 3 updated" in summary
    assert "1 clean, 1 usable, 1 excluded" in summary
    assert "3 tickers, 3 versions" in summary
    table = shown("validation-half-good")
    assert [(row["ticker"], row["status"], row["rule"], row["severity"]) for row in table] == [
        ("BAD", "excluded", "unrecorded_split", "bars truncated"),
        ("REP", "usable", "high_low", "repaired"),
    ]
    assert table[0]["since"] == str(ROWS["session"].iloc[65].date())
    assert table[1]["expected"] == "low <= open, close <= high"
    (row,) = shown("not-up-to-date-half-good")
    assert (row["ticker"], row["state"], row["last_session"]) == ("A/B", "missing", None)
    assert "found 'A/B' as a ticker" in row["reason"]


def test_without_findings_the_summary_alone_is_shown(ingested: Callable[..., IngestResult]) -> None:
    result = ingested("all_good", AAA=ROWS, BBB=ROWS)
    assert (result.status, result.not_settled) == ("ok", ())
    assert shown("ingest-all-good").startswith("**ok**")
    assert (shown("validation-all-good"), shown("not-up-to-date-all-good")) == (None, None)
    assert list(result.seconds) == ["read", "store", "check"]


def test_a_repair_alone_is_shown_and_leaves_the_update_ok(ingested: Callable[..., IngestResult]) -> None:
    assert ingested("repaired", AAA=with_small_miss()).status == "ok"
    assert shown("ingest-repaired").startswith("**ok**")
    assert [row["rule"] for row in shown("validation-repaired")] == ["high_low"]


# --- Out of the store ---


class PrintedCall:
    """A call that keeps the object which a command prints, and the words that it shows to people."""

    def __init__(self) -> None:
        self.object: dict[str, Any] = {}
        self.words = ""

    def prints(self, values: Mapping[str, Any], show: Callable[[Console], None]) -> None:
        self.object = json.loads(json.dumps(values, allow_nan=False))
        console = Console(file=io.StringIO(), width=400)
        show(console)
        self.words = console.file.getvalue()  # type: ignore[attr-defined]


@pytest.fixture
def mine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Collection:
    """A collection "mine" of two tickers imported twice, with an adjusted close of its own."""
    monkeypatch.setenv("TAPECAST_HOME", str(tmp_path / "home"))
    rows = good_rows(130, "2023-08-01")
    prices = open_files(written(tmp_path / "bars.csv", {"AAA": rows}))
    made = open_collection(Settings().prices, "mine", terms_of(prices))
    for hours, factor in enumerate((1.0, 1.001)):
        for ticker in ("AAA", "BBB"):
            moved = rows.assign(volume=rows["volume"] * factor)
            commit(made, ticker, FetchedRows(moved, None, "USD", NOW + timedelta(hours=hours)))
    return made


def damage(collection: Collection, ticker: str) -> None:
    path = path_of(collection, ticker)
    content = bytearray(path.read_bytes())
    content[len(content) // 3] ^= 0xFF
    path.write_bytes(bytes(content))


def test_what_cannot_be_pruned_makes_it_partial(mine: Collection) -> None:
    damage(mine, "BBB")
    before, call = path_of(mine, "BBB").read_bytes(), PrintedCall()
    assert data_commands.prune(call, NOW + timedelta(days=1), "mine") == 3  # type: ignore[arg-type]
    ((ticker, reason),) = call.object["refused"]
    assert ticker == "BBB"
    assert str(path_of(mine, "BBB")) in reason
    assert (call.object["versions"], call.object["rows"]) == (1, 130)
    assert "not pruned BBB" in call.words
    assert path_of(mine, "BBB").read_bytes() == before


def test_pruning_what_is_whole_is_a_success_even_where_nothing_goes(mine: Collection) -> None:
    for versions in (2, 0):
        call = PrintedCall()
        assert data_commands.prune(call, NOW + timedelta(days=1), "mine") == 0  # type: ignore[arg-type]
        assert (call.object["versions"], call.object["refused"]) == (versions, [])


def exported(path: Path, view: str, name: str, *tickers: str) -> tuple[int, PrintedCall]:
    call = PrintedCall()
    command: Any = data_commands.export
    return command(call, Wanted(tickers, None), path, view, (name, None)), call


@pytest.mark.parametrize("lost", ["damaged", "unknown"])
def test_an_export_without_one_of_its_tickers_is_partial(mine: Collection, tmp_path: Path, lost: str) -> None:
    name = {"damaged": "BBB", "unknown": "NOPE"}[lost]
    if lost == "damaged":
        damage(mine, "BBB")
    status, call = exported(tmp_path / "out.csv", "as_traded", "mine", "AAA", name)
    assert (status, call.object["tickers"], call.object["rows"]) == (3, 1, 130)
    assert [out["ticker"] for out in call.object["excluded"]] == [name]
    assert call.object["excluded"][0]["reason"]
    assert f"{name} was excluded: " in call.words
    assert open_files(tmp_path / "out.csv").tickers() == ("AAA",)


def test_a_ticker_whose_bars_end_early_makes_an_export_partial(mine: Collection, tmp_path: Path) -> None:
    rows = good_rows(130, "2023-08-01").assign(split=1.0)
    commit(mine, "CUT", FetchedRows(rows, None, "USD", NOW))
    status, call = exported(tmp_path / "out.parquet", "as_traded", "mine")
    assert status == 3
    assert [out["ticker"] for out in call.object["excluded"]] == ["CUT"]
    assert "bars end early" in call.object["excluded"][0]["reason"]


@pytest.mark.parametrize("view", ["as_traded", "split_adjusted", "total_return"])
def test_an_export_keeps_the_adjusted_close_of_a_source_whose_returns_are_its(
    mine: Collection, tmp_path: Path, view: str
) -> None:
    path = tmp_path / "out.parquet"
    assert exported(path, view, "mine")[0] == 0
    reported, rows = pd.read_parquet(path), good_rows(130, "2023-08-01")
    np.testing.assert_array_equal(reported["adj_close"][reported["ticker"] == "BBB"], rows["adj_close"])
    assert open_files(path).returns_from == "adj_close"


def test_an_export_of_yahoo_s_prices_has_no_adjusted_close(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TAPECAST_HOME", str(tmp_path / "home"))
    yahoo = open_collection(Settings().prices, YAHOO, YAHOO_TERMS)
    commit(yahoo, "AAA", FetchedRows(good_rows(130, "2023-08-01"), None, "USD", NOW))
    assert exported(tmp_path / "out.csv", "as_traded", YAHOO)[0] == 0
    assert "adj_close" not in pd.read_csv(tmp_path / "out.csv")
    assert open_files(tmp_path / "out.csv").returns_from == "actions"


def test_what_was_known_later_is_not_exported_as_known_before(mine: Collection, tmp_path: Path) -> None:
    call, path, then = PrintedCall(), tmp_path / "out.parquet", NOW + timedelta(minutes=1)
    assert data_commands.export(call, ALL, path, "as_traded", ("mine", then)) == 0  # type: ignore[arg-type]
    volume = pd.read_parquet(path)["volume"].to_numpy()[:130]
    np.testing.assert_array_equal(volume, good_rows(130, "2023-08-01")["volume"])
