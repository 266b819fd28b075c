"""Annotate a tomogram: strokes, boxes and points of several users, versioned; training data from them."""
