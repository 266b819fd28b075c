"""The gains of filters in Fourier space: what each frequency is multiplied by.

A gain is described by JSON values with a ``kind``, so that a stage can carry it:

===========  ==========================================================================================================
``wiener``   deconvolution of the CTF, or its sign, or the CTF itself (:mod:`volengine.ops.filters.ctf`)
``low``      low pass: 1 below the frequency 1 / resolution, 0 above, with a raised cosine around it
``high``     high pass: 1 - low pass; the mean becomes 0
``wedge``    missing-wedge mask: 1 where a tilt series has measured, 0 elsewhere
``taper``    of another voxel size: falls to 0 towards the highest frequency that both grids have
``match``    target amplitude / own amplitude (:mod:`volengine.ops.filters.spectra`)
===========  ==========================================================================================================

Frequencies are physical (1/angstrom), so gains are right for any shape and for voxels that are not cubes. An edge of
the relative width e around a frequency f reaches from f (1 - e/2) to f (1 + e/2); the gain is 1/2 at f.

>>> f = np.array([0.0, 0.009, 0.01, 0.011, 0.1])
>>> low_pass(f, 100.0, 0.2).round(3).tolist()
[1.0, 1.0, 0.5, 0.0, 0.0]
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from volengine.ops.filters.ctf import Lens, Ratio, transfer_gain, wiener_gain
from volengine.ops.filters.spectra import Curve, matching_gain
from volengine.ops.filters.transforms import Columns
from volengine.ops.filters.wedge import tilt_of, wedge_mask

Floats = NDArray[np.float64]
Tables = Mapping[str, Mapping[str, NDArray[Any]]]
"""By name the table of a spectrum, which a gain ``match`` reads."""


def low_pass(f: Floats, resolution_a: float, edge: float) -> Floats:
    """Gain of a low pass.

    Parameters
    ----------
    f
        Frequencies, 1/angstrom, of any shape.
    resolution_a
        The gain is 1/2 at the frequency 1 / resolution; angstrom.
    edge
        Width of the edge as a share of this frequency, 0 to 2; 0: sharp (the frequency itself is kept).
    """
    at = f * resolution_a
    if not edge:
        return (at <= 1).astype(np.float64)
    return 0.5 + 0.5 * np.cos(math.pi * np.clip((at - 1) / edge + 0.5, 0.0, 1.0))


def taper(kz: Any, ky: Any, kx: Any, limits: Sequence[float], width: float) -> Floats:
    """Gain of a taper towards the highest frequency, an ellipsoid over the axes.

    Parameters
    ----------
    kz, ky, kx
        Whole numbers of waves along each axis, that can be broadcast against each other.
    limits
        The highest number of waves of each axis, z, y, x.
    width
        The gain falls with a raised cosine from 1 at ``1 - width`` of the ellipsoid to 0 at its surface; beyond it is
        0.
    """
    r2 = sum(np.square(np.asarray(k, np.float64) / limit) for k, limit in zip((kz, ky, kx), limits, strict=True))
    return 0.5 + 0.5 * np.cos(math.pi * np.clip((np.sqrt(r2) - (1 - width)) / width, 0.0, 1.0))


def gain_of(columns: Columns, gains: Sequence[Mapping[str, Any]], tables: Tables) -> NDArray[np.float32]:
    """The product of gains for one row of columns.

    Parameters
    ----------
    columns
        Columns with one frequency along y.
    gains
        The gains, as JSON.
    tables
        The tables of spectra.

    Returns
    -------
    float32 (z, x); computed in float64, and rounded once.
    """
    half = Columns(
        columns.grid,
        np.arange(columns.grid.out_shape[0] // 2 + 1),
        columns.ky,
        columns.kx,
        np.arange(columns.grid.out_shape[0] // 2 + 1) / (columns.grid.shape[0] * columns.grid.voxel_size[0]),
        columns.fy,
        columns.fx,
    )
    even = [gain for gain in gains if gain["kind"] != "wedge"]
    radius = np.sqrt(np.square(half.fz)[:, None] + np.square(half.fy[0]) + np.square(half.fx)[None, :])
    found = np.ones_like(radius)
    for gain in even:  # equal at -kz and kz: half of them is computed
        found *= _even(gain, half, radius, tables)
    found = found[np.abs(columns.kz)]
    for gain in gains:
        if gain["kind"] == "wedge":
            found *= _wedge(gain, columns)
    rounded: NDArray[np.float32] = found.astype(np.float32)
    return rounded


def _wedge(gain: Mapping[str, Any], columns: Columns) -> Floats:
    """Of an even number of voxels the highest frequency stands for both signs: the mean of both is taken."""
    n, rows = columns.grid.out_shape[0], columns.grid.kept[0]
    y, x = float(columns.fy[0]), columns.fx[None, :]
    signs = (y, -y) if 2 * abs(int(columns.ky[0])) == rows else (y,)

    def mask(z: Floats) -> Floats:
        how = gain["tilts"], gain["axis"], gain["edge_deg"]
        both: Floats = np.mean([wedge_mask(z[:, None], np.full((1, 1), sign), x, *how) for sign in signs], axis=0)
        return both

    found = mask(columns.fz)
    if n % 2 == 0:
        highest = columns.fz[n // 2 : n // 2 + 1]
        found[n // 2] = (mask(highest)[0] + mask(-highest)[0]) / 2
    return found


def _even(gain: Mapping[str, Any], half: Columns, radius: Floats, tables: Tables) -> Floats:
    kind = gain["kind"]
    if kind == "low":
        return low_pass(radius, gain["resolution_a"], gain["edge"])
    if kind == "high":
        return 1 - low_pass(radius, gain["resolution_a"], gain["edge"])
    if kind == "taper":
        return taper(half.kz[:, None], half.ky[0], half.kx[None, :], gain["limits"], gain["width"])
    if kind == "match":
        tilt = tilt_of(half.fz[:, None], np.asarray(half.fy[0]), half.fx[None, :], gain["axis"])
        own = Curve.from_table(tables[gain["table"]])
        return matching_gain(radius, tilt, own, Curve.from_json(gain["target"]), gain["most"])
    lens = Lens.from_json(gain["lens"])
    if gain["mode"] == "wiener":
        return wiener_gain(radius, gain["voxel_a"], lens, Ratio(**gain["ratio"]))
    return transfer_gain(radius, lens, gain["mode"])
