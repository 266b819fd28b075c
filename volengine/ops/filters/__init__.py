"""Filters of tomograms: in Fourier space by out-of-core transforms, and of neighbourhoods, block by block."""
