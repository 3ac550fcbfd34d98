"""What MLflow reads from the environment, in part while it is imported; free of mlflow, to be set before."""

import logging
from collections.abc import Mapping

MLFLOW_DEFAULTS: Mapping[str, str] = {
    "MLFLOW_DISABLE_TELEMETRY": "true",  # it would send usage to its makers
    "MLFLOW_CONFIGURE_LOGGING": "false",  # its own handler writes "Creating initial tables" over the progress bars
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    # What is not delivered stays in the outbox: no reason to ask a server for minutes that does not answer.
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "15",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
}
"""Defaults for the environment of a process that records runs, to be set before mlflow is imported."""


def silence_libraries() -> None:
    """Keep tracebacks and retries of MLflow and its client off the terminal: their errors reach a user in our words."""
    for name in ("mlflow", "urllib3"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
