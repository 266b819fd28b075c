"""denoise: a network that was trained on half sets, or on noisy and ideal tomograms, applied to tomograms."""
