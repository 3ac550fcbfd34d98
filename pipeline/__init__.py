"""Tapecast's plain functions: prices in, honest quantile forecasts out. Nothing here imports Prefect."""
