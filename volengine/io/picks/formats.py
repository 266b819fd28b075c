"""The table of all formats of picks. A format joins by an entry here and a module beside this one.

What the module has is said in :mod:`volengine.io.picks.registry`, which imports it when it is needed; nothing is
imported here. Endings, choices of options and messages are made from this table.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Format:
    """A format of picks.

    Parameters
    ----------
    about
        One line: whose it is, what a coordinate counts, and the endings.
    endings
        Endings of its files, the usual one first, in lower case.
    module
        Module of this package that reads and writes it.
    reads, writes
        Whether the module has ``read`` and ``files``.
    several
        Whether one file holds several tomograms.
    sized
        Whether the file states the size of a voxel or pixel, so that it can be read without ``voxel_size``.
    shaped
        Whether it can be written only if the shape of the tomogram is known.
    framed
        Whether the coordinates contain the tomogram's origin, and no writer can leave it out.
    counts_pixels
        Whether coordinates may count other pixels than the tomogram's voxels (``pixel_size`` of ``write_picks``).
    poses
        Whether it holds Euler angles.
    whole
        Whether positions are rounded to whole voxels.
    mark
        Regular expression (bytes, lines on their own) of what only files of this format contain, for endings that
        several formats share. A format without one is taken if no other one's mark is there; if all have one, the first
        is taken, whose reader says what the file is not.
    by_rows
        Whether a file is a head and one line for each pick, which depends on no other pick, so that
        :mod:`volengine.io.picks.parts` can write it part by part.
    of_tomogram
        What follows the name of a tomogram in the name of its file, if the programs that read it look for that. A file
        whose name ends so is written in this format.
    """

    about: str
    endings: tuple[str, ...]
    module: str
    reads: bool = True
    writes: bool = True
    several: bool = True
    sized: bool = False
    shaped: bool = False
    framed: bool = False
    counts_pixels: bool = False
    poses: bool = True
    whole: bool = False
    mark: bytes | None = None
    by_rows: bool = False
    of_tomogram: str = ""


FORMATS: dict[str, Format] = {
    "relion": Format(
        "RELION 4 STAR: pixels, 0-based (.star)", (".star",), "relion", sized=True, counts_pixels=True, by_rows=True,
    ),
    "relion5": Format(
        "RELION 5 STAR: angstrom from the tomogram's centre (.star)", (".star",), "relion", sized=True, shaped=True,
        counts_pixels=True, mark=rb"^_rlnCenteredCoordinateXAngst\b", by_rows=True,
    ),
    "relion5-set": Format(
        "RELION 5 set: NAME_optimisation_set.star with its particles and tomograms (.star)", (".star",), "relion",
        sized=True, shaped=True, counts_pixels=True, mark=rb"^_rlnTomoParticlesFile\b",
    ),
    "warp": Format(
        "Warp and M STAR: pixels, 0-based, NAME.tomostar (.star)", (".star",), "relion", sized=True, counts_pixels=True,
        mark=rb"\.tomostar\b", by_rows=True,
    ),
    "ais": Format("Ais STAR: voxels, 0-based (.star)", (".star",), "relion", mark=rb"^_aisParticle", by_rows=True),
    "ais-tsv": Format(
        "Ais TSV: x, y, z in whole voxels (.tsv, .txt)", (".tsv", ".txt"), "delimited", several=False, poses=False,
        whole=True, by_rows=True,
    ),
    "dynamo": Format("Dynamo table: pixels, 1-based (.tbl)", (".tbl",), "dynamo", sized=True),
    "dynamo0": Format("Dynamo table by programs that count from 0 (.tbl)", (".tbl",), "dynamo", sized=True),
    "csv": Format("volengine's CSV, everything kept (.csv)", (".csv",), "delimited", sized=True, by_rows=True),
    "copick": Format(
        "copick JSON: angstrom (.json)", (".json",), "copick", several=False, sized=True, mark=rb'"points"\s*:',
    ),
    "copick-project": Format(
        "a whole copick project: config.json#picks=OBJECT,user=USER (.json)", (".json",), "copick_project",
        writes=False, sized=True, mark=rb'"pickable_objects"\s*:',
    ),
    "portal": Format(
        "CryoET Data Portal points: voxels, 0-based (.ndjson)", (".ndjson",), "portal", several=False, by_rows=True,
    ),
    "imod": Format(
        "IMOD model: pixels, + 0.5 in x and y (.mod)", (".mod",), "imod", several=False, sized=True, poses=False,
    ),
    "imod-mesh": Format(
        "vertices of the meshes of an IMOD model, with normals (.mod)", (".mod",), "imod", writes=False,
        several=False, sized=True,
    ),
    "imod-text": Format(
        "IMOD's model2point: pixels, + 0.5 in x and y (.txt)", (".txt",), "imod", several=False, poses=False,
    ),
    "stopgap": Format(
        "STOPGAP motive list: pixels, 1-based (.star)", (".star",), "stopgap", mark=rb"^data_stopgap_motivelist\b",
    ),
    "motl": Format("TOM and AV3 motive list: pixels, 1-based (.em)", (".em",), "motl"),
    "eman2": Format(
        "EMAN2 boxes: unbinned pixels from the tomogram's centre (_info.json)", (".json",), "eman2", several=False,
        shaped=True, counts_pixels=True, poses=False, mark=rb'"boxes_3d"\s*:', of_tomogram="_info.json",
    ),
    "eman2-hdf": Format(
        "EMAN2 particles: pixels from the tomogram's centre (.hdf)", (".hdf",), "eman2_hdf", writes=False,
        several=False, shaped=True, poses=False,
    ),
    "coords": Format(
        "x y z of TomoTwin, crYOLO and others: voxels, 0-based (.coords, .xyz)", (".coords", ".xyz"), "points",
        several=False, poses=False, by_rows=True,
    ),
    "cbox": Format(
        "TomoTwin and crYOLO boxes: voxels, corner in x and y (.cbox)", (".cbox",), "cbox", several=False, poses=False,
    ),
    "artiax": Format(
        "ArtiaX particle list: voxels, 0-based (.tsv)", (".tsv",), "points", several=False,
        mark=rb"\A(?:[^\n]*\t)?pos_x\b", by_rows=True,
    ),
    "amira": Format(
        "Amira spatial graph: points along edges, in its unit with the tomogram's origin (.am)", (".am",), "amira",
        writes=False, several=False, poses=False,
    ),
    "amira-angstrom": Format(
        "the same, for a graph that states no unit and counts angstrom (.am)", (".am",), "amira", writes=False,
        several=False, poses=False, mark=rb"(?!)",
    ),
    "cmm": Format(
        "ChimeraX markers: angstrom with the tomogram's origin (.cmm)", (".cmm",), "cmm", several=False, poses=False,
        framed=True,
    ),
}  # fmt: skip
"""All formats by name. The first one with an ending that has a writer is written to files of that ending."""
