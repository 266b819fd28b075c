"""view: volumes, predictions, labels, picks and surfaces of tomograms in a browser."""
