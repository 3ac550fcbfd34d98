"""Tests of the forecasters: formulas, fits and forecasts of every kind."""
