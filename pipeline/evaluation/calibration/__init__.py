"""Are the bands as wide as they say, and what corrects them where they are not."""
