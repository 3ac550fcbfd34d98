"""Prefect's temporary server, for commands run where no Prefect server is named."""

import importlib
import signal
import threading
from collections.abc import Sequence

from pipeline.errors import TapecastError

FOR_A_RUN = ("torch", "mlflow", "matplotlib.figure")
"""Slow imports that a run will need."""


def start_temporary_server(import_meanwhile: Sequence[str] = ()) -> None:
    """Start the server that Prefect itself would start at its first call; it ends with this process.

    An interrupt at the terminal reaches every process of its group. The server inherits a mask that blocks it, so
    that the flow can still report its end to the server. Raises TapecastError where the server does not start.
    """
    from prefect.settings import PREFECT_API_URL  # noqa: PLC0415  after the environment is set

    if PREFECT_API_URL.value():
        return
    from prefect.server.api.server import SubprocessASGIServer  # noqa: PLC0415  takes seconds, which a named server spares

    # The server starts in another process for some seconds: time enough to import what the flow will need.
    threading.Thread(target=_import_all, args=(import_meanwhile,), daemon=True).start()
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        SubprocessASGIServer().start()
    except RuntimeError as error:
        raise TapecastError(
            f"Prefect's temporary server did not start: {error} Expected an answer within two minutes; run again, or "
            "set PREFECT_API_URL to a server that runs"
        ) from error
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})


def _import_all(names: Sequence[str]) -> None:
    for name in names:
        importlib.import_module(name)
