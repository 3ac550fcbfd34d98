"""Yahoo Finance: the real yfinance client, asked politely, its answers brought to rows as traded."""
