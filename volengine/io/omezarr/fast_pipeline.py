"""The codec pipeline of ``zarrs``, for the stores it can reach; switched on by :mod:`volengine.io.omezarr.codecs`."""

from __future__ import annotations

from typing import Any

import zarrs
from zarr.abc.store import Store
from zarr.storage import LocalStore


class FastPipeline(zarrs.ZarrsCodecPipeline):  # type: ignore[misc]
    """Local files go through ``zarrs``; zarr-python keeps every other store, and what ``zarrs`` cannot decode (the
    other byte order), without a warning for each array."""

    @classmethod
    def from_array_metadata_and_store(cls, array_metadata: Any, store: Store) -> Any:
        native = array_metadata.dtype.to_native_dtype().isnative
        if not isinstance(store, LocalStore) or not native:
            raise NotImplementedError  # zarr-python then asks for ``from_codecs``: its own pipeline
        return super().from_array_metadata_and_store(array_metadata, store)
