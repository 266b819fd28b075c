"""Methods: pure functions on arrays."""
