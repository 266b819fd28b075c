"""demo: the whole way on a real and on a simulated tomogram."""
