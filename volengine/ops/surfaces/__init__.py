"""Methods on triangle meshes: arrays in, arrays out. Vertices are places in angstrom, z, y, x, unless a text says so."""
