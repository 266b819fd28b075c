"""train: networks from tomograms with their truth."""
