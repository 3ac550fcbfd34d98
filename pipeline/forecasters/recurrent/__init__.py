"""Recurrent networks: specification, cells, heads, network, the training loop, and forecasts."""
