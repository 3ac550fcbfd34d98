"""The sanity suite: planted signals are found, none is found in noise, and planted leaks are detected."""
