"""Simulated trading on the forecasts by simple rules, after costs, and passive portfolios for comparison."""
