"""filter: a tomogram through a list of filters to a tomogram."""
