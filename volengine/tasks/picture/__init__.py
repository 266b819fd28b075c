"""picture: slices of a volume with what was found in it, as PNG or SVG, without a viewer."""
