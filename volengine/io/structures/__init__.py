"""Structures of particles: reading PDB, mmCIF and density files, and the cache of downloaded entries."""
