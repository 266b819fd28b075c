"""Open what a path or URL names, by its suffix.

:func:`open_volume` makes a handle from metadata, an :class:`OpenVolume`, which reads its voxels as NumPy, Dask and
xarray arrays; :func:`open_source` and :func:`open_sink` give access to the voxels of any handle, box by box.

>>> volume = open_volume("TS_01.ome.zarr")          # doctest: +SKIP
>>> volume[100], volume[:, 100:200, :]              # doctest: +SKIP
>>> volume.read(level=2)                            # doctest: +SKIP
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields
from typing import Any, Self

from numpy.typing import NDArray

from volengine.core.boxes import Index3
from volengine.core.errors import InputError, VolengineError
from volengine.core.paths import PathLike, path_text
from volengine.core.volume import Volume
from volengine.io import notebook
from volengine.io.names import MRC_SUFFIXES, TIFF_SUFFIXES, Sink, Source, suffix_of
from volengine.io.stores import located


class OpenVolume(Volume):
    """A volume whose voxels can be read, which is what :func:`open_volume` and the verbs return.

    It describes the voxels as every :class:`~volengine.core.volume.Volume` does, holds none of them, and reads those
    that are asked for. The description is in ``core``, which knows no format; the reading is here, where the formats
    are. So a plan can be made of volumes that do not exist yet, and whoever holds one that does can read it. Equality,
    hash and JSON are those of the description; a copy in another process reads the same voxels.

    >>> volume = open_volume("TS_01.ome.zarr")                      # doctest: +SKIP
    >>> volume[10]                                                  # doctest: +SKIP
    >>> volume[:, 100:200, ::2]                                     # doctest: +SKIP
    >>> volume.at_level(1).to_dask().mean().compute()               # doctest: +SKIP
    """

    ndim = 3

    @classmethod
    def of(cls, volume: Volume) -> Self:
        """The same volume, open: for descriptions that were made from JSON or by a plan."""
        return volume if isinstance(volume, cls) else cls(**{f.name: getattr(volume, f.name) for f in fields(volume)})

    def read(self, box: Any = ..., level: int | None = None) -> NDArray[Any]:
        """Voxels as a NumPy array of the volume's dtype, order z, y, x.

        Parameters
        ----------
        box
            A :class:`~volengine.core.boxes.Box`, or an index as NumPy takes it: whole numbers and slices, with steps
            and negative numbers, for up to three axes; all voxels unless given.
        level
            Read from this resolution level, in whose voxels ``box`` counts; default: the volume's own.

        Raises
        ------
        IndexRefusedError
            An ``IndexError``: a number outside of the volume, or anything but whole numbers, slices and ``...``.
        InputError
            A box that leaves the volume; a file that is compressed as a whole; a level that is not there.
        """
        volume = self if level is None else self.at_level(level)
        voxels: NDArray[Any] = notebook.read_index(volume, _reader(volume), box)
        return voxels

    def __getitem__(self, key: Any) -> Any:
        return self.read(key)

    def __len__(self) -> int:
        return self.shape[0]

    def __iter__(self) -> Iterator[NDArray[Any]]:
        """The slices along z, each read when its turn comes."""
        return (self.read(z) for z in range(len(self)))

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        """All voxels, of a volume of up to 2 GiB; larger ones are refused."""
        if copy is False:
            raise ValueError(f"{self.where}: the voxels are read from storage, which is a copy; leave out copy=False.")
        notebook.check_size(self)
        return self.read().astype(self.dtype if dtype is None else dtype, copy=False)

    @property
    def levels(self) -> tuple[Index3, ...]:
        """Shapes z, y, x of the image's resolution levels, the finest first; of a plain file its own alone."""
        return self._image().shapes if self.path else (self.shape,)

    def at_level(self, level: int) -> Self:
        """The same image at another resolution level, 0 the finest: with the name and the voxel size of this one.

        Raises
        ------
        InputError
            There is no such level; plain files and bare arrays have level 0 only.
        """
        if self.path:
            return self.of(self._image().open(self, level))
        if level != 0:
            raise InputError(f"{self.where} has level 0 only; there is no level {level}.")
        return self

    def _image(self) -> Any:
        from volengine.io.omezarr.image_levels import ImageLevels

        return ImageLevels.of(self)

    def to_dask(self) -> Any:
        """The volume as a ``dask.array.Array`` in its stored chunks (whole slices of a file without chunks).

        Nothing is read until it is computed, and then by whoever computes: for looking at volumes larger than memory
        in a notebook. The verbs do not work on Dask arrays; see :mod:`volengine.engine`.
        """
        return notebook.dask_array(self, _reader)

    def to_xarray(self) -> Any:
        """The volume as an ``xarray.DataArray`` of dimensions z, y, x with positions in angstrom; needs ``xarray``.

        The data are those of :meth:`to_dask`. A position is ``origin + index * voxel size``, as everywhere.
        """
        return notebook.xarray_array(self, self.to_dask())

    def _repr_html_(self) -> str:
        """The facts, and the middle slice from the coarsest level that is large enough; read from storage."""
        try:
            shapes = self.levels
            volume = self.at_level(notebook.thumbnail_level(shapes)) if len(shapes) > 1 else self
            picture = notebook.thumbnail(volume[len(volume) // 2], self.kind, self._window())
        except (VolengineError, OSError) as error:
            return notebook.html_table(self, (self.shape,), None, f"no picture: {error}")
        return notebook.html_table(self, shapes, picture)

    def _window(self) -> tuple[float, float] | None:
        """The display range that the store keeps."""
        return self._image().window if self.path else None


def _reader(volume: Volume) -> notebook.Read:
    return open_source(volume).read


def open_volume(
    url: PathLike,
    *,
    voxel_size: float | tuple[float, float, float] | None = None,
    name: str | None = None,
    level: int = 0,
    group: str = "",
    channel: int | None = None,
) -> OpenVolume:
    """The handle of a file or store, by its suffix; reads metadata only.

    Parameters
    ----------
    url
        Text or ``pathlib.Path``: ``.mrc .rec .map .st .ali`` (also ``.gz``, ``.bz2``), ``.tif .tiff``, or an OME-Zarr
        store (path or URL).
    voxel_size
        Angstrom (one number or z, y, x); overrides what the file says.
    name
        The tomogram's name; default: the file's stem.
    level, group, channel
        For OME-Zarr: resolution level, labels group (``"labels/core"``), index on a channel axis.

    Raises
    ------
    MissingError, FormatError, InputError
        Nothing there; not what its suffix says; a voxel size that is needed.
    """
    volume = _described(located(path_text(url)), voxel_size, name, (level, group, channel))
    return OpenVolume.of(volume)


def _described(
    url: str,
    voxel_size: float | tuple[float, float, float] | None,
    name: str | None,
    image: tuple[int, str, int | None],
) -> Volume:
    """The description of a file or store; ``image`` is level, group and channel of an OME-Zarr store."""
    suffix = suffix_of(url)
    if suffix in MRC_SUFFIXES:
        from volengine.io.mrc.open import open_mrc

        return open_mrc(url, voxel_size=voxel_size, name=name)
    if suffix in TIFF_SUFFIXES:
        from volengine.io.tiff import open_tiff

        return open_tiff(url, voxel_size=voxel_size, name=name)
    if suffix in ("", ".zarr"):
        from volengine.io.omezarr.read import open_image

        level, group, channel = image
        volume = open_image(url, level=level, group=group, channel=channel, voxel_size=voxel_size)
        return volume.with_(name=name) if name else volume
    raise InputError(
        f"{url}: the suffix {suffix!r} is not one of {', '.join((*MRC_SUFFIXES, *TIFF_SUFFIXES, '.zarr'))}."
    )


def open_source(volume: Volume) -> Source:
    """Read access to the voxels of a handle."""
    suffix = suffix_of(volume.url)
    if suffix in MRC_SUFFIXES:
        from volengine.io.mrc.open import MrcSource

        return MrcSource(volume)
    if suffix in TIFF_SUFFIXES:
        from volengine.io.tiff import TiffSource

        return TiffSource(volume)
    from volengine.io.omezarr.arrays import ZarrSource

    return ZarrSource(volume)


def open_sink(volume: Volume) -> Sink:
    """Write access to the voxels of an OME-Zarr level or a scratch array that exists."""
    from volengine.io.omezarr.arrays import ZarrSink

    return ZarrSink(volume)
