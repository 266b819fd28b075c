"""The state of Neuroglancer that shows a scene: its layers with their looks, where to look, in which layout.

Addresses of data begin with ``{data}``, for which the page puts the server's own: the state does not depend on where
the server runs, so it can be shared. The format is that of Neuroglancer's own links ("viewer state" in its
documentation).
"""

from __future__ import annotations

from typing import Any

from volengine.core.errors import FormatError, InputError
from volengine.core.feature_colours import Colour, hexadecimal
from volengine.core.units import NM_TO_ANGSTROM
from volengine.web.view.scene import Layer, Scene

DATA = "{data}"
"""Stands for the address of the data."""
ANGSTROM_M = 1e-10
BACKGROUND = "#14181c"
LOCAL = ("local://annotations", "local://equivalences")
"""Sources that are in a state itself: what users mark."""
DEEPEST = 40
"""Of lists in lists of a state."""

_GREY = "#uicontrol invlerp normalized\nvoid main() { emitGrayscale(normalized()); }\n"
_TINT = (
    '#uicontrol invlerp normalized\n#uicontrol vec3 colour color(default="{colour}")\n'
    "void main() {{ emitRGBA(vec4(colour, normalized())); }}\n"
)
_BALLS = (
    '#uicontrol vec3 colour color(default="{colour}")\n'
    "#uicontrol float opacity slider(min=0, max=1, default=0.8)\n"
    "{weight}"
    "void main() {{ {choose}setColor(vec4(colour, opacity)); }}\n"
)
_WEIGHT = "#uicontrol float least_weight slider(min={low:.9g}, max={high:.9g}, default={low:.9g})\n"
_AXES = "void main() { setColor(vec4(prop_axis(), 1.0)); setLineWidth(2.0); setEndpointMarkerSize(0.0); }\n"


def state_of(scene: Scene) -> dict[str, Any]:
    """The state that shows a scene.

    Parameters
    ----------
    scene
        The scene.

    Returns
    -------
    dict
        JSON values. One voxel of ``dimensions`` is one of the scene's grid; voxel *i* goes from *i* to *i* + 1. How
        large a pixel is, is for the page, which knows its size.
    """
    (nz, ny, nx), (sz, sy, sx) = scene.grid.shape, scene.grid.voxel_size
    return {
        "title": scene.name,
        "dimensions": {axis: [size * ANGSTROM_M, "m"] for axis, size in zip("xyz", (sx, sy, sz), strict=True)},
        "position": [nx // 2 + 0.5, ny // 2 + 0.5, nz // 2 + 0.5],
        "layers": [layer_state(layer) for layer in scene.layers],
        "showAxisLines": True,
        "showScaleBar": True,
        "showDefaultAnnotations": False,
        "crossSectionBackgroundColor": BACKGROUND,
        "projectionBackgroundColor": BACKGROUND,
        "selectedLayer": {"visible": False},
        "layout": "4panel",
    }


def layer_state(layer: Layer) -> dict[str, Any]:
    """The state of one layer."""
    address = f"{DATA}/{layer.key}/"
    common = {"name": layer.name, "visible": layer.visible}
    if layer.kind in ("intensity", "probability"):
        low, high = layer.window
        shader = _GREY if layer.colour is None else _TINT.format(colour=_hex(layer.colour))
        controls = {"normalized": {"range": [low, high], "window": _wide(low, high)}}
        look = {"opacity": 1.0, "blend": "default"} if layer.colour is None else {"opacity": 0.75, "blend": "default"}
        source = f"{address}|zarr3:"
        return {"type": "image", "source": source, **common, "shader": shader, "shaderControls": controls, **look}
    if layer.kind == "labels":
        return {"type": "segmentation", "source": f"{address}|zarr3:", **common, "segments": [], "selectedAlpha": 0.5}
    source = f"{address}|neuroglancer-precomputed:"
    if layer.kind == "surfaces":
        chosen = [str(int(number)) for number in layer.numbers]
        colour = {} if layer.colour is None else {"segmentDefaultColor": _hex(layer.colour)}
        return {"type": "segmentation", "source": source, **common, "segments": chosen, **colour}
    if layer.kind == "axes":
        return {"type": "annotation", "source": source, **common, "shader": _AXES}
    low, high = layer.numbers or (0.0, 0.0)
    by_weight = high > low
    shader = _BALLS.format(
        colour=_hex(layer.colour or (255, 255, 255)),
        weight=_WEIGHT.format(low=low, high=high) if by_weight else "",
        choose="if (prop_weight() < least_weight) { discard; } " if by_weight else "",
    )
    return {"type": "annotation", "source": source, **common, "shader": shader}


def _wide(low: float, high: float) -> list[float]:
    """The range of a histogram around a window."""
    least, largest = min(low, high), max(low, high)
    return [least - (largest - least) / 2, largest + (largest - least) / 2]


def _hex(colour: Colour) -> str:
    return f"#{hexadecimal(colour).lower()}"


def described(scene: Scene) -> dict[str, Any]:
    """What the page says about a scene, as JSON values."""
    grid = scene.grid
    nm = [n * v / NM_TO_ANGSTROM for n, v in zip(grid.shape, grid.voxel_size, strict=True)]
    layers = [
        {
            "key": one.key,
            "name": one.name,
            "kind": one.kind,
            "colour": None if one.colour is None else _hex(one.colour),
            "visible": one.visible,
            "picture": one.overlay is not None,
        }
        for one in scene.layers
    ]
    return {
        "name": scene.name,
        "shape": list(grid.shape),
        "voxel_size": list(grid.voxel_size),
        "nm": nm,
        "notes": list(scene.notes),
        "layers": layers,
        "pictures": any(one.kind == "intensity" for one in scene.layers),
        "state": state_of(scene),
    }


def check_state(state: Any) -> dict[str, Any]:
    """A state that somebody has saved, if it is one and asks for nothing of elsewhere.

    Raises
    ------
    InputError
        It is no state, or holds an address that is not this server's.
    """
    if not isinstance(state, dict) or not isinstance(state.get("layers"), list):
        raise InputError("A saved view is a state of Neuroglancer, with its layers.")
    _check_texts(state, DEEPEST)
    return state


def _check_texts(value: Any, depth: int) -> None:
    if depth < 0:
        raise FormatError("A saved view holds lists in lists in lists without end.")
    if isinstance(value, str):
        if "://" in value and value not in LOCAL:
            raise InputError(f"A saved view may hold no address of elsewhere: {value[:100]!r}.")
    elif isinstance(value, dict):
        for name, one in value.items():
            if name in ("url", "source", "mesh", "skeletons") and isinstance(one, str) and one not in LOCAL:
                _check_source(one)
            _check_texts(one, depth - 1)
    elif isinstance(value, list):
        for one in value:
            _check_texts(one, depth - 1)


def _check_source(source: str) -> None:
    if not source.startswith(f"{DATA}/"):
        raise InputError(f"A saved view may hold sources of this server alone, not {source[:100]!r}.")
