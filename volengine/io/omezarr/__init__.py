"""OME-Zarr images: metadata, arrays, pyramid levels, codecs, display range, checks."""
