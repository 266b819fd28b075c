"""demo: all steps on a real and on a simulated tomogram."""
