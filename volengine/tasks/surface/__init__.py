"""surface: triangle meshes of what a prediction or a label volume holds."""
