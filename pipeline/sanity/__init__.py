"""The sanity suite: planted signals are found, in noise nothing is, and planted leaks are caught."""
