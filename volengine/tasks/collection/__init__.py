"""Collections: the manifest of many tomograms, which people edit, and what became of each of them."""
