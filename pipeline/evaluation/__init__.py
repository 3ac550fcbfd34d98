"""Walk-forward results, scores and tests of significance."""
