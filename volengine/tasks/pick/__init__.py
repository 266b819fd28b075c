"""pick: particles from a prediction."""
