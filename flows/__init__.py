"""Prefect flows around the pipeline's plain functions, and the command line that starts them."""
