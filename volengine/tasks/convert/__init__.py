"""convert: files to OME-Zarr images."""
