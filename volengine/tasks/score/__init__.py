"""score: predictions and picks against the truth."""
