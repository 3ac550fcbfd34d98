"""The same over HTTP: a real MLflow server on loopback, in a process group of its own."""

import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pandas as pd
import pytest
from mlflow.tracking import MlflowClient

from pipeline.evaluation.scores import POOLED
from pipeline.operation.aliases import Aliases
from pipeline.operation.model_versions import publish
from pipeline.operation.publication import published_rows
from pipeline.operation.result import CalendarResult
from pipeline.tracking.registry import mirror_aliases, mirror_version
from pipeline.tracking.store import Destination, prepare_store, run_url
from pipeline.training.cache import read_fitted
from tests.operation.fitted_models import NOW as VERSION_AT
from tests.operation.fitted_models import small_fits, trained
from tests.panels import TINY

from .conftest import THIRD_PARTY, record
from .faulty import free_port

pytestmark = [*THIRD_PARTY, pytest.mark.slow]

START_SECONDS = 120


@contextmanager
def running_server(folder: Path, port: int | None = None) -> Iterator[tuple[str, "subprocess.Popen[bytes]"]]:
    """A server over the stores in a folder: its address, and its process, which leads a group of its own."""
    port = port or free_port()
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    stores = ["--backend-store-uri", f"sqlite:///{folder / 'mlflow.db'}", "--artifacts-destination", str(folder / "a")]
    environment = {**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(
            command + stores, cwd=folder, env=environment, stdout=log, stderr=log, start_new_session=True
        )
        try:
            uri = f"http://127.0.0.1:{port}"
            wait_for(uri, process, folder / "log")
            yield uri, process
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGTERM)
            process.wait(30)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with running_server(tmp_path_factory.mktemp("server")) as (uri, _):
        yield uri


def wait_for(uri: str, process: subprocess.Popen[bytes], log: Path) -> None:
    until = time.monotonic() + START_SECONDS
    while time.monotonic() < until and process.poll() is None:
        try:
            with urllib.request.urlopen(f"{uri}/health", timeout=5):  # noqa: S310  loopback
                return
        except OSError:
            time.sleep(0.5)
    pytest.fail(f"the server did not answer:\n{log.read_text()}")


def test_a_run_is_written_over_http_and_comes_back(
    server: str, outbox: Path, outcome: CalendarResult, report: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    store = prepare_store(Destination(server, None, "tapecast"))
    began = time.monotonic()
    run_id = record(store, outbox, outcome, report).run_id
    seconds = time.monotonic() - began
    assert capfd.readouterr().out == ""  # here the client would print "View run"
    assert run_url(store, run_id) == f"{server}/#/experiments/{store.experiment_id}/runs/{run_id}"
    client = MlflowClient(tracking_uri=server)
    run = client.get_run(run_id)
    assert run.info.status == "FINISHED"
    assert len(client.search_runs([store.experiment_id], f"tags.mlflow.parentRunId = '{run_id}'")) == 2
    assert outcome.evaluation
    scores = outcome.evaluation.scores.set_index(["ticker", "horizon", "forecaster"])
    expected = 1e4 * scores.loc[(POOLED, 1, "network"), "pinball"]
    assert run.data.metrics["h1/network/pinball_x1e4"] == pytest.approx(expected)
    table = Path(client.download_artifacts(run_id, "tables/forecasts.json", str(tmp_path)))
    assert len(pd.read_json(table, orient="split")) == len(published_rows(outcome.forecasts))
    assert read_fitted(Path(client.download_artifacts(run_id, "model/network_seed_0", str(tmp_path)))).horizons == 2
    assert seconds < 30, f"{seconds:.1f} s: is something written one by one?"


def test_a_model_version_is_registered_over_http_with_its_aliases(server: str, tmp_path: Path) -> None:
    store = prepare_store(Destination(server, None, "tapecast"))
    client = MlflowClient(tracking_uri=server)
    results = small_fits(tmp_path / "fits", ("climatology",))
    version = publish(tmp_path / "models", "mine", [trained(("T0",), results)], VERSION_AT)
    run_id = client.create_run(store.experiment_id).info.run_id
    for _ in range(2):
        mirror_version(store, run_id, version)
        mirror_aliases(store, "mine", Aliases(champion=1))
    (registered,) = client.search_model_versions("name = 'tapecast-mine'")
    assert (registered.run_id, registered.tags["tapecast.digest"]) == (run_id, version.description.digest)
    assert client.get_model_version_by_alias("tapecast-mine", "champion").version == registered.version
    place = "model_version/mine/0001"
    assert registered.source.endswith(f"{run_id}/artifacts/{place}")
    folder = Path(client.download_artifacts(run_id, place, str(tmp_path)))
    key = results[0].job.key
    assert read_fitted(folder / "fits" / key).horizons == TINY.horizons
