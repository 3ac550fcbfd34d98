"""A PostgreSQL server of the tests' own, on loopback, its data in a folder that is gone afterwards."""

import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.containers.place import free_ports, postgresql_path, require_postgresql
from tests.containers.stack import as_another_user

START_SECONDS = 60


@contextmanager
def postgresql_server() -> Iterator[str]:
    """Yield the address of a server without databases of ours, up to the database's name; skips where there is none."""
    require_postgresql()
    (binaries,) = postgresql_path()
    folder = Path(tempfile.mkdtemp(prefix="tapecast-ledger-"))  # another user cannot look into pytest's folders
    if as_another_user():
        shutil.chown(folder, "postgres")
    (port,) = free_ports(1)
    try:
        run(f"{binaries}/initdb", "--username=postgres", "--auth=trust", "--no-sync", "--pgdata", str(folder / "data"))
        with running(f"{binaries}/postgres", folder, port):
            yield f"postgresql+psycopg2://postgres@127.0.0.1:{port}/"
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def run(*command: str) -> None:
    subprocess.run([*as_another_user(), *command], cwd="/", check=True, capture_output=True, timeout=120)


@contextmanager
def running(binary: str, folder: Path, port: int) -> Iterator[None]:
    """Run the server while the context lasts; as the image does, SIGINT ends it."""
    where = ["-D", str(folder / "data"), "-k", str(folder), "-p", str(port), "-c", "listen_addresses=127.0.0.1"]
    command = [*as_another_user(), binary, *where, "-c", "fsync=off"]
    log = (folder / "log").open("wb")
    server = subprocess.Popen(command, cwd="/", stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    try:
        wait_until_ready(binary, folder, port)
        yield
    finally:
        server.terminate()
        server.wait(START_SECONDS)
        log.close()


def wait_until_ready(binary: str, folder: Path, port: int) -> None:
    ready = [str(Path(binary).with_name("pg_isready")), "--quiet", "--host", str(folder), "--port", str(port)]
    end = time.monotonic() + START_SECONDS
    while subprocess.run(ready, timeout=30, check=False).returncode:
        assert time.monotonic() < end, (folder / "log").read_text()
        time.sleep(0.1)
