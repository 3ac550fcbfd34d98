"""Networks, heads, losses and the baselines' formulas; nothing here trains or reads files."""
