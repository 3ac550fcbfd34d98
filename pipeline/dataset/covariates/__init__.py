"""What is read beside a ticker's own bars: sectors, an index, series from files, the calendar of the target session."""
