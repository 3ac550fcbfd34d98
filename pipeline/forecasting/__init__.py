"""From fits to forecasts: the mean over seeds, calibration, the long table; backtest and live forecast alike."""
