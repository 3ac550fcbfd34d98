"""One file per forecaster: its specification, `fit` and `quantiles` side by side; `registry` lists them all."""
