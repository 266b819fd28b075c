"""stats: counts, distances and clusters of particles."""
