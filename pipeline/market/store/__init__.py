"""The versioned store: what the sources told, ticker by ticker, and when it was told."""
