"""simulate: specimens, tilt series and tomograms with their truth."""
