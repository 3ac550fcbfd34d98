"""Measures of calibration, and the conformal correction of bands."""
