"""Prefect flows around the use cases of pipeline.workflow, and the command line that starts them."""
