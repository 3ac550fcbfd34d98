"""The pipeline from daily prices to quantile forecasts, as plain functions; nothing here imports Prefect."""
