"""Opening files and stores by their suffix.

:func:`open_volume` makes a handle from metadata. It is an :class:`OpenVolume`, which reads its voxels as NumPy, Dask
and xarray arrays. :func:`open_source` and :func:`open_sink` give access to the voxels of any handle, box by box.

>>> volume = open_volume("TS_01.ome.zarr")
>>> volume[10].shape, volume[:, 8:24, :].shape
((32, 32), (16, 16, 32))
>>> volume.read(level=1).shape
(8, 16, 16)
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any, Self

from numpy.typing import NDArray

from volengine.core.boxes import Index3
from volengine.core.errors import FormatError, InputError, VolengineError
from volengine.core.paths import PathLike, path_text
from volengine.core.volume import Volume
from volengine.io import notebook
from volengine.io.identity import How
from volengine.io.names import (
    AMIRA_SUFFIXES,
    EM_SUFFIXES,
    FILE_SUFFIXES,
    HDF5_SUFFIXES,
    MRC_SUFFIXES,
    NIFTI_SUFFIXES,
    TIFF_SUFFIXES,
    VOLUME_SUFFIXES,
    ZIP_SUFFIXES,
    Sink,
    Source,
    file_and_dataset,
    is_packed,
    is_remote,
    project_and_choice,
    split_group,
    suffix_of,
)
from volengine.io.stores import download, located


class OpenVolume(Volume):
    """A volume whose voxels can be read. :func:`open_volume` and the verbs return it.

    Like every :class:`~volengine.core.volume.Volume` it describes voxels and holds none of them; it reads those that an
    index selects. Reading needs the formats of ``io``, so it is not in ``core``, where plans are made of volumes that
    do not exist yet. Equality, hash and JSON are those of the description. A copy in another process reads the same
    voxels.

    >>> volume = open_volume("TS_01.ome.zarr")
    >>> volume[10].dtype, volume[:, 8:24, ::2].shape
    (dtype('float32'), (16, 16, 16))
    >>> volume.at_level(1).to_dask().shape
    (8, 16, 16)
    """

    ndim = 3

    @classmethod
    def of(cls, volume: Volume) -> Self:
        """Make an open volume of a description, for example one that was made from JSON or by a plan."""
        return volume if isinstance(volume, cls) else cls(**{f.name: getattr(volume, f.name) for f in fields(volume)})

    def read(self, box: Any = ..., level: int | None = None) -> NDArray[Any]:
        """Read voxels as a NumPy array of the volume's dtype, in the order z, y, x.

        Parameters
        ----------
        box
            A :class:`~volengine.core.boxes.Box`, or a NumPy index for up to three axes: whole numbers and slices, also
            with steps and negative numbers. Default: all voxels.
        level
            The resolution level to read, in whose voxels ``box`` is; default: the volume's own.

        Raises
        ------
        IndexRefusedError
            (An ``IndexError``.) A number is outside of the volume, or an index is not a whole number, slice or ``...``.
        InputError
            The box reaches outside of the volume, the file is compressed as a whole, or the level does not exist.
        """
        volume = self if level is None else self.at_level(level)
        voxels: NDArray[Any] = notebook.read_index(volume, _reader(volume), box)
        return voxels

    def __getitem__(self, key: Any) -> Any:
        return self.read(key)

    def __len__(self) -> int:
        return self.shape[0]

    def __iter__(self) -> Iterator[NDArray[Any]]:
        """Yield the slices along z; each is read when it is needed."""
        return (self.read(z) for z in range(len(self)))

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        """Read all voxels; volumes larger than 2 GiB are refused."""
        if copy is False:
            raise ValueError(f"{self.where}: the voxels are read from storage, which is a copy; leave out copy=False.")
        notebook.check_size(self)
        return self.read().astype(self.dtype if dtype is None else dtype, copy=False)

    @property
    def levels(self) -> tuple[Index3, ...]:
        """Shapes z, y, x of the image's resolution levels, the finest first; a plain file has one level."""
        return self._image().shapes if self.stored else (self.shape,)

    def at_level(self, level: int) -> Self:
        """Return the same image at another resolution level; 0 is the finest.

        It keeps the name of this volume, and its voxel size is consistent with this volume's.

        Raises
        ------
        InputError
            The level does not exist. Plain files and bare arrays have level 0 only.
        """
        if self.stored:
            return self.of(self._image().open(self, level))
        if level != 0:
            raise InputError(f"{self.where} has level 0 only; there is no level {level}.")
        return self

    def _image(self) -> Any:
        from volengine.io.omezarr.image_levels import ImageLevels

        return ImageLevels.of(self)

    def to_dask(self) -> Any:
        """Return the volume as a ``dask.array.Array`` in its stored chunks (whole slices of a file without chunks).

        Voxels are read when the array is computed, by the process that computes it. It is for inspecting volumes larger
        than memory in a notebook. The verbs do not use Dask arrays; see :mod:`volengine.engine`.
        """
        return notebook.dask_array(self, _reader)

    def to_xarray(self) -> Any:
        """Return the volume as an ``xarray.DataArray`` with dimensions z, y, x and coordinates in angstrom.

        Its data are those of :meth:`to_dask`. A coordinate is ``origin + index * voxel size``.

        Raises
        ------
        DependencyError
            ``xarray`` is not installed.
        """
        return notebook.xarray_array(self, self.to_dask())

    def _repr_html_(self) -> str:
        """Show the facts, and the middle slice of the coarsest level that is large enough, which is read for this."""
        try:
            shapes = self.levels
            volume = self.at_level(notebook.thumbnail_level(shapes)) if len(shapes) > 1 else self
            picture = notebook.thumbnail(volume[len(volume) // 2], self.kind, self.display_range)
        except (VolengineError, OSError) as error:
            return notebook.html_table(self, (self.shape,), None, f"no picture: {error}")
        return notebook.html_table(self, shapes, picture)

    @property
    def display_range(self) -> tuple[float, float] | None:
        """Return the display range that the store states."""
        return self._image().window if self.stored else None


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
    identity: How = "quick",
) -> OpenVolume:
    """Open a file or store by its suffix, and return its handle. Metadata are read, and the chunks of a store listed.

    Parameters
    ----------
    url
        Path (text or ``pathlib.Path``) or URL of an MRC file (``.mrc .rec .map .ccp4 .st .ali .mrcs``, also with
        ``.gz`` or ``.bz2``), of a TIFF stack (``.tif .tiff``), of an EM file (``.em``), of an HDF5 file (``.h5 .hdf5
        .hdf``; ``file.h5:/path`` is one of several arrays in it), of a NIfTI volume (``.nii .nii.gz``), of an Amira
        lattice (``.am``), or of an OME-Zarr store, also in a zip archive (``.ozx .zarr.zip``);
        ``store.ome.zarr#labels/core`` is the group ``labels/core`` in it, and ``config.json#run=TS_1,tomo=wbp`` a
        tomogram of a copick project (:mod:`volengine.io.copick.choice`).
    voxel_size
        Angstrom, one number or z, y, x; overrides that of the file.
    name
        Name of the tomogram; default: the name of the file without its ending.
    level, group, channel
        For OME-Zarr: resolution level, group of an image (``"labels/core"``), index on a channel axis (also of HDF5).
    identity
        How the voxels are identified: ``quick`` (size, time, sampled blocks, listing of chunks), ``content`` (all
        bytes are read), or ``metadata`` (of stores only; for inspecting a volume, changes are not noticed).

    Raises
    ------
    MissingError
        The file or store does not exist.
    FormatError
        It is damaged, or not of the format that its suffix names.
    InputError
        The suffix is unknown, the image is not complete, the file is a montage of SerialEM
        (:mod:`volengine.io.montage.find`), or the voxel size or the channel must be given.

    >>> import tempfile, mrcfile, numpy
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     mrcfile.write(f"{folder}/TS_01.mrc", numpy.zeros((4, 8, 8), "float32"), voxel_size=10)
    ...     volume = open_volume(f"{folder}/TS_01.mrc")
    ...     volume.name, volume.shape, volume.voxel_size, volume[2].shape
    ('TS_01', (4, 8, 8), (10.0, 10.0, 10.0), (8, 8))
    """
    where = path_text(url)
    if project_and_choice(where)[1]:
        from volengine.io.copick.choice import chosen_volume

        where = chosen_volume(where)
    place, inner = split_group(where)
    if group and inner and group != inner:
        raise InputError(f"{path_text(url)} names the group {inner!r}, but group is {group!r}; give one of them.")
    return OpenVolume.of(_described(located(place), voxel_size, name, (level, group or inner, channel), identity))


def _described(
    url: str,
    voxel_size: float | tuple[float, float, float] | None,
    name: str | None,
    image: tuple[int, str, int | None],
    identity: How,
) -> Volume:
    """The description of a file or store; ``image`` is level, group and channel of an OME-Zarr store."""
    suffix = suffix_of(url)
    if is_remote(url) and suffix in FILE_SUFFIXES and suffix not in MRC_SUFFIXES:
        raise InputError(
            f"{url}: of files behind URLs only MRC ({', '.join(MRC_SUFFIXES)}) and OME-Zarr, also in zip archives, are "
            "read. Download it first."
        )
    if (
        is_packed(url)
        and suffix in FILE_SUFFIXES
        and suffix not in MRC_SUFFIXES
        and not url.lower().endswith(".nii.gz")
    ):
        raise FormatError(f"{url}: files of the kind {suffix} are not read compressed; unpack it (gunzip, bunzip2).")
    if suffix in MRC_SUFFIXES:
        from volengine.io.montage.find import refuse_montage
        from volengine.io.mrc.header import MrcHeader
        from volengine.io.mrc.open import open_mrc

        volume = open_mrc(url, voxel_size=voxel_size, name=name, identity=identity)
        refuse_montage(url, MrcHeader.from_json(volume.facts["mrc"]))
        return volume
    if suffix in TIFF_SUFFIXES:
        from volengine.io.montage.find import refuse_stack
        from volengine.io.tiff import open_tiff

        volume = open_tiff(url, voxel_size=voxel_size, name=name, identity=identity)
        refuse_stack(url, volume.shape)
        return volume
    if suffix in EM_SUFFIXES:
        from volengine.io.em import open_em

        return open_em(url, voxel_size=voxel_size, name=name, identity=identity)
    if suffix in NIFTI_SUFFIXES:
        from volengine.io.nifti import open_nifti

        return open_nifti(url, voxel_size=voxel_size, name=name, identity=identity)
    if suffix in AMIRA_SUFFIXES:
        from volengine.io.amira_lattice import open_amira

        return open_amira(url, voxel_size=voxel_size, name=name, identity=identity)
    if suffix in HDF5_SUFFIXES:
        from volengine.io.hdf5.open import open_hdf5

        file, dataset = file_and_dataset(url)
        return open_hdf5(file, dataset, voxel_size=voxel_size, name=name, identity=identity, channel=image[2])
    if suffix in ("", ".zarr"):
        from volengine.io.omezarr.read import open_image

        level, group, channel = image
        volume = open_image(url, level=level, group=group, channel=channel, voxel_size=voxel_size, identity=identity)
        return volume.with_(name=name) if name else volume
    known = ", ".join((*VOLUME_SUFFIXES, *ZIP_SUFFIXES))
    raise InputError(f"{url}: the suffix {suffix!r} is not one of {known}.")


def open_source(volume: Volume) -> Source:
    """Return read access to the voxels of a handle."""
    suffix = suffix_of(volume.url)
    if suffix in MRC_SUFFIXES:
        from volengine.io.mrc.open import MrcSource

        return MrcSource(volume)
    if suffix in TIFF_SUFFIXES:
        from volengine.io.tiff import TiffSource

        return TiffSource(volume)
    if suffix in EM_SUFFIXES:
        from volengine.io.em import EmSource

        return EmSource(volume)
    if suffix in NIFTI_SUFFIXES:
        from volengine.io.nifti import NiftiSource

        return NiftiSource(volume)
    if suffix in AMIRA_SUFFIXES:
        from volengine.io.amira_lattice import AmiraSource

        return AmiraSource(volume)
    if suffix in HDF5_SUFFIXES:
        from volengine.io.hdf5.open import Hdf5Source

        return Hdf5Source(volume)
    from volengine.io.omezarr.arrays import ZarrSource

    return ZarrSource(volume)


def unpack(path: PathLike, target: PathLike) -> Path:
    """Unpack a file that is compressed as a whole (MRC, NIfTI); the target appears only when it is complete.

    Raises
    ------
    FormatError
        The file is damaged, cut off or not compressed, or is of a format that is not read compressed.
    """
    text = path_text(path)
    suffix = suffix_of(text)
    if is_remote(text) and not is_packed(text):
        from volengine.core.atomic import replacing

        with replacing(target) as file:
            download(text, file)
        return Path(target)
    if suffix in NIFTI_SUFFIXES:
        from volengine.io.nifti import decompress_nifti

        return decompress_nifti(path, target)
    if suffix in MRC_SUFFIXES:
        from volengine.io.mrc.open import decompress

        return decompress(path, target)
    raise FormatError(f"{path_text(path)}: files of the kind {suffix} are not read compressed; unpack it with gunzip.")


def open_sink(volume: Volume) -> Sink:
    """Return write access to the voxels of an OME-Zarr level or a scratch array, which must have been created."""
    from volengine.io.omezarr.arrays import ZarrSink

    return ZarrSink(volume)
