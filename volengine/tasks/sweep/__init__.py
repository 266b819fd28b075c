"""sweep: rules and picks with many settings, on predictions that are there already."""
