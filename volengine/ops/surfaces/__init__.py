"""Methods on triangle meshes: arrays in, arrays out. Vertices are places, angstrom, z, y, x."""
