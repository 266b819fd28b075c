"""Volumes in HDF5 files: DeepFinder, ilastik, EMAN2 and others."""
