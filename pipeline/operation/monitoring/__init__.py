"""Monitoring: the live record of what was issued, and whether data, losses and bands are as the backtest promised."""
