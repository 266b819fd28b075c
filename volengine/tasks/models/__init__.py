"""models: networks, and models of other programs."""
