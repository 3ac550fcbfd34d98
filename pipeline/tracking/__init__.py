"""Finished results in MLflow, by explicit run id: the only importer of mlflow, and it keeps no global state."""
