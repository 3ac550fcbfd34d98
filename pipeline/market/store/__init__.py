"""The versioned price store: what the sources reported, ticker by ticker, and when."""
