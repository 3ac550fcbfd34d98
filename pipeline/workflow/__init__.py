"""The use cases as plain functions, free of Prefect and of the terminal."""
