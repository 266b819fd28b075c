"""segment: predictions by networks."""
