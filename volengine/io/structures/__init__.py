"""Structures of particles: PDB, mmCIF and density files, and the cache of downloads."""
