"""The command line: options, the commands behind them, and what they print."""
