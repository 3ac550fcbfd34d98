"""Money: what simple trading rules would have earned on the forecasts, after costs, beside doing nothing clever."""
