"""One home for all commands of a worker: Prefect's and MLflow's databases are laid out once."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from .command import Command, small_experiment


@pytest.fixture(scope="session")
def tapecast(tmp_path_factory: pytest.TempPathFactory, prefect_server: str) -> Command:
    """The command on the server of the flows in process; elsewhere it starts its own, some seconds each time."""
    return Command(tmp_path_factory.mktemp("home"), prefect_api=prefect_server)


@pytest.fixture(scope="session")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_experiment(tmp_path_factory.mktemp("experiment"))


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """One home for the flows that a module runs in this process: MLflow's database is laid out once."""
    folder = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TAPECAST_HOME", str(folder))
        yield folder


@pytest.fixture(scope="session")
def prefect_server() -> Iterator[str]:
    """The address of a Prefect server for all flows of a worker."""
    from prefect.settings import PREFECT_API_URL  # noqa: PLC0415  only where a flow runs
    from prefect.testing.utilities import prefect_test_harness  # noqa: PLC0415

    with prefect_test_harness(server_startup_timeout=120):
        yield str(PREFECT_API_URL.value())
