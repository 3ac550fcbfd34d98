"""What MLflow reads from the environment once, while it is imported; free of mlflow, so that it can be set before."""

from collections.abc import Mapping

QUIET_MLFLOW: Mapping[str, str] = {
    "MLFLOW_DISABLE_TELEMETRY": "true",  # it would send usage to its makers
    "MLFLOW_CONFIGURE_LOGGING": "false",  # its own handler writes "Creating initial tables" over the progress bars
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
}
"""Defaults for the environment of a process that records runs, to be set before mlflow is imported."""
