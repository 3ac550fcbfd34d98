"""Yahoo Finance through yfinance: rate-limited requests, and answers parsed into rows as traded."""
