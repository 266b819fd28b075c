"""A store that notes which objects were asked for and are not there; zarr itself fills their voxels without a word."""

from __future__ import annotations

from typing import Any

from zarr.abc.store import Store
from zarr.storage import WrapperStore

from volengine.io.omezarr.bounds import ChunkError


class NotingStore(WrapperStore[Store]):
    """Passes everything on to another store.

    Parameters
    ----------
    store
        The other store.
    """

    def __init__(self, store: Store):
        super().__init__(store)
        self.absent: set[str] = set()
        """Full keys of objects that were not there when they were last asked for."""

    async def get(self, key: str, prototype: Any, byte_range: Any = None) -> Any:
        """Return an object, or a part of it; ``None`` if it is not there.

        Raises
        ------
        ChunkError
            It is empty, which zarr takes for not there.
        """
        found = await self._store.get(key, prototype, byte_range)
        if found is not None and len(found) == 0:
            raise ChunkError("it is empty")
        if found is None:
            self.absent.add(key)
        else:
            self.absent.discard(key)
        return found
