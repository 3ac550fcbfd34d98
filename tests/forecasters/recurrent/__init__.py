"""Tests of the recurrent networks: specification, network, training and forecasts."""
