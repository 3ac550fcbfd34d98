"""Bars: their sources, their validation, the price store, and the calendars of their exchanges."""
