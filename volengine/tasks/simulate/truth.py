"""The last call of a plan of ``simulate``: write picks with poses, tables, meshes, angles, and all parameters."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from volengine.core.csv_cells import guarded_row
from volengine.core.orientation import matrix_to_euler
from volengine.core.picks import Picks
from volengine.core.specimen import rotation_matrix
from volengine.engine.plan import Made, Plan
from volengine.tasks.common.layout import file_name, join_url
from volengine.tasks.simulate.limits import limits_of
from volengine.tasks.simulate.recipe import SimulateRecipe
from volengine.tasks.simulate.record import forget_former

if TYPE_CHECKING:
    from volengine.core.image import ImageSpec
    from volengine.sim.scene import Scene

RAW_TILT = "{:.2f}\n"


def write_truth(
    plan: Plan, tables: Any, out: str, name: str, number: int, tilts: Mapping[str, Sequence[float]]
) -> Made:
    """Write the truth of a sample as small files; the engine calls this when all stages are done.

    Returns the files, and the number of particles of each class.

    Files of the same sample that an earlier recipe has left in the folder are deleted, so that its truth is not taken
    for that of the new sample.

    Parameters
    ----------
    plan
        The plan of the sample, with its recipe.
    tables
        ``tables(name)`` returns the tables of a stage, by block number.
    out
        Folder of all samples.
    name, number
        Name and number of the sample.
    tilts
        Columns of the tilt series, one number per image: see :class:`volengine.sim.imaging.tilts.TiltSeries`.
    """
    from volengine.sim.scene import Scene

    table = tables("place")[0]
    scene = Scene.from_table(table)
    recipe = plan.recipe["simulate"]
    picks = picks_of(scene, recipe["specimen"], name)
    stars = {f"picks/{name}__{file_name(feature)}.star": found for feature, found in picks.items()}
    for place, found in stars.items():
        _write_picks(join_url(out, place), found)
    texts = {f"truth/{name}/specimen.csv": _rows(specimen_rows(scene))}
    if scene.centrelines:
        texts[f"truth/{name}/filaments.csv"] = _rows(filament_rows(scene))
    texts[f"truth/{name}/tilts.csv"] = _rows(tilt_rows(tilts))
    if recipe["keep"]["tilts"]:
        texts[f"tilts/{name}.rawtlt"] = "".join(RAW_TILT.format(a) for a in tilts["nominal_deg"])
        texts |= {f"tilts/{name}/{file}": text for file, text in series_files(recipe, name, tilts).items()}
    for place, text in texts.items():
        _write(join_url(out, place), text)
    meshes = _write_membranes(out, f"truth/{name}", scene, recipe["specimen"])
    images = [spec for spec in plan.images if not spec.scratch]
    copies = _write_mrc(images) if recipe["keep"]["mrc"] else []
    urls = [*(spec.url for spec in images if not spec.group), *copies]
    facts = {
        "name": name,
        "sample": number,
        "recipe": recipe,
        "classes": scene.classes,
        "placed": json.loads(str(table["report"])),
        "structures": plan.stage("place").params["structures"],
        "ice_volt": scene.ice,
        "limits": limits_of(SimulateRecipe.from_json(recipe)),
        "volengine": _version(),
        "files": sorted([*stars, *texts, *meshes, *("/".join(url.split("/")[-2:]) for url in urls)]),
    }
    record = join_url(out, "truth", name, "sample.json")
    facts["files"] = forget_former(out, record, facts)
    _write(record, json.dumps(facts, indent=1) + "\n")
    files = [*(join_url(out, place) for place in (*stars, *texts, *meshes)), *copies, record]
    return Made(tuple(files), tuple(f"{feature}: {len(found)} particles" for feature, found in picks.items()))


def picks_of(scene: Scene, specimen: Mapping[str, Any], name: str) -> dict[str, Picks]:
    """The picks of each class: particles inside the volume, with pose, instance and group.

    A particle with sub-models of several classes is in the picks of each of these classes, at its pivot.
    """
    size, shape = float(specimen["voxel_size"]), tuple(specimen["shape"])
    rows = scene.placements
    inside = ((rows.position >= -size / 2) & (rows.position < (np.array(shape) - 0.5) * size)).all(axis=1)
    found: dict[str, Picks] = {}
    for feature in sorted({c for t in scene.templates for c in t.classes}):
        mine = [n for n, t in enumerate(scene.templates) if feature in t.classes]
        chosen = rows[inside & np.isin(rows.template, mine)]
        if not len(chosen):
            continue
        found[feature] = Picks(
            chosen.position / size,
            voxel_size=(size, size, size),
            shape=shape,
            tomogram=name,
            feature=feature,
            label=chosen.instance.astype(np.int64),
            euler=matrix_to_euler(rotation_matrix(chosen.quaternion)),
            extra={
                "group": chosen.group.astype(np.int64),
                "structure": np.array([scene.templates[n].name for n in chosen.template]),
            },
        )
    return found


def series_files(recipe: Mapping[str, Any], name: str, tilts: Mapping[str, Sequence[float]]) -> dict[str, str]:
    """What other programs read beside a tilt series, by file name: see :mod:`volengine.io.tilts.write`."""
    from volengine.io.tilts.write import SeriesFacts, tilt_files

    optics, (_, height, width) = recipe["exposure"]["optics"], recipe["specimen"]["shape"]
    series = SeriesFacts(
        name=file_name(name),
        shape=(height, width),
        pixel_a=recipe["specimen"]["voxel_size"],
        nominal_deg=tuple(tilts["nominal_deg"]),
        true_deg=tuple(tilts["true_deg"]),
        shift_a=tuple(zip(tilts["shift_y"], tilts["shift_x"], strict=True)),
        dose=tuple(tilts["dose"]),
        before=tuple(tilts["before"]),
        defocus_um=optics["defocus_um"],
        voltage_kv=optics["voltage_kv"],
    )
    return tilt_files(series)


def specimen_rows(scene: Scene) -> Iterator[list[Any]]:
    """Rows of ``specimen.csv``, one per particle or unit: structure, classes, instance, group, position, quaternion."""
    yield ["structure", "classes", "instance", "group", "z_a", "y_a", "x_a", "qw", "qx", "qy", "qz"]
    rows = scene.placements
    for n in range(len(rows)):
        template = scene.templates[rows.template[n]]
        place = [f"{v:.3f}" for v in rows.position[n]] + [f"{v:.6f}" for v in rows.quaternion[n]]
        yield [template.name, "+".join(template.classes), rows.instance[n], rows.group[n], *place]
    bilayers = [(b.name, b.instance) for b in scene.labels] + [(m.name, m.instance) for m in scene.membranes]
    for name, instance in bilayers:
        yield ["bilayer", name, instance, 0, *[""] * 7]


def filament_rows(scene: Scene) -> Iterator[list[Any]]:
    """Rows of ``filaments.csv``: points of the centrelines, in order along each filament."""
    yield ["instance", "z_a", "y_a", "x_a"]
    for instance, line in scene.centrelines.items():
        for point in line:
            yield [instance, *[f"{v:.3f}" for v in point]]


def tilt_rows(tilts: Mapping[str, Sequence[float]]) -> Iterator[list[Any]]:
    """Rows of the table of tilts, one per image, in stack order."""
    names = list(tilts)
    yield names
    for values in zip(*tilts.values(), strict=True):
        yield [f"{v:.6g}" for v in values]


def _write_membranes(out: str, folder: str, scene: Scene, specimen: Mapping[str, Any]) -> list[str]:
    """Write a mesh of each membrane that lies partly or wholly in the volume; return their paths in ``out``."""
    from volengine.io.meshes import write_mesh
    from volengine.io.stores import local_copy
    from volengine.sim.shapes.membranes import surface_mesh

    z, y, x = ((n - 1) * specimen["voxel_size"] for n in specimen["shape"])
    written = []
    for membrane in scene.membranes:
        vertices, faces = surface_mesh(membrane, (z, y, x))
        if len(faces):
            written.append(f"{folder}/membrane_{membrane.instance:05d}.ply")
            with local_copy(join_url(out, written[-1]), write=True) as path:
                path.parent.mkdir(parents=True, exist_ok=True)
                write_mesh(path, vertices, faces)
    return written


def _write_mrc(images: Sequence[ImageSpec]) -> list[str]:
    """Write images as MRC beside their stores; return the paths."""
    from volengine.io.stores import local_copy
    from volengine.tasks.export import write_volume

    written = []
    for spec in images:
        suffix = f"__{spec.group.removeprefix('labels/')}" if spec.group else ""
        written.append(spec.url.removesuffix(".ome.zarr") + suffix + ".mrc")
        with local_copy(written[-1], write=True) as path:
            write_volume(spec.volume(), str(path), progress=False)
    return written


def _write_picks(out: str, picks: Picks) -> None:
    from volengine.io.picks import write_picks
    from volengine.io.stores import local_copy

    with local_copy(out, write=True) as path:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_picks(path, picks)


def _rows(rows: Iterator[list[Any]]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(map(guarded_row, rows))
    return text.getvalue()


def _write(out: str, text: str) -> None:
    from volengine.core.atomic import replacing
    from volengine.io.stores import local_copy

    with local_copy(out, write=True) as path:
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as part:
            part.write(text.encode())


def _version() -> str:
    from volengine import __version__

    return __version__
