"""The codec pipeline of ``zarrs`` for local stores; :mod:`volengine.io.omezarr.codecs` switches it on."""

from __future__ import annotations

from typing import Any

import zarrs
from zarr.abc.store import Store
from zarr.storage import LocalStore


class FastPipeline(zarrs.ZarrsCodecPipeline):  # type: ignore[misc]
    """Uses ``zarrs`` for local files, and zarr-python's own pipeline for all other arrays.

    These are arrays in other stores, and arrays of the other byte order, which ``zarrs`` cannot decode. There is no
    warning for each of them.
    """

    @classmethod
    def from_array_metadata_and_store(cls, array_metadata: Any, store: Store) -> Any:
        """Make the pipeline of an array; for arrays that ``zarrs`` cannot read, zarr-python makes its own instead."""
        native = array_metadata.dtype.to_native_dtype().isnative
        if not isinstance(store, LocalStore) or not native:
            raise NotImplementedError  # zarr-python then asks for ``from_codecs``: its own pipeline
        return super().from_array_metadata_and_store(array_metadata, store)
