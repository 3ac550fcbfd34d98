"""Issuing live forecasts."""
