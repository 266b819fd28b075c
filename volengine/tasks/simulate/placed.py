"""What was placed: a specimen that lacks what its recipe asks for, or whose truth lacks what it shows, is refused."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from volengine.core.errors import InputError
from volengine.sim.recipe.specimen import SpecimenRecipe

if TYPE_CHECKING:
    from volengine.sim.scene import Scene


def shortfalls(report: Sequence[Mapping[str, Any]]) -> str:
    """The objects that could not be placed, as a line of text: ``"ribosome: 3 of 40"``; empty if all were placed.

    Parameters
    ----------
    report
        For each step its ``name``, and the numbers ``asked`` and ``placed``; ``asked`` is ``None`` if a rule stops it.
    """
    asked: dict[str, int] = {}
    placed: dict[str, int] = {}
    for step in report:
        if step["asked"] is not None:
            asked[step["name"]] = asked.get(step["name"], 0) + step["asked"]
            placed[step["name"]] = placed.get(step["name"], 0) + step["placed"]
    return ", ".join(f"{what}: {placed[what]} of {count}" for what, count in asked.items() if placed[what] < count)


def refuse_unplaced(
    report: Sequence[Mapping[str, Any]], scene: Scene, recipe: SpecimenRecipe, strict: bool = False
) -> None:
    """Refuse a specimen for whose objects no place was found; with ``strict`` also if some of them have none.

    A film does not count: what is in its hole is the specimen.

    Raises
    ------
    InputError
        It names what has no place, and the sizes.
    """
    wanted = [step for step in report if step["step"] != "film" and step["asked"] != 0]
    nothing = bool(wanted) and not any(step["placed"] for step in wanted)
    short = shortfalls(report)
    if not nothing and not (strict and short):
        return
    lost = {step["name"] for step in wanted if not step["placed"]}
    ring = {f.class_name: 2 * max(kind.radius_a for kind, _ in f.built) for f in recipe.filaments}
    sizes = {
        t.name: 2 * t.radius + max((ring.get(name, 0.0) for name in (t.name, *t.classes)), default=0.0)
        for t in scene.templates
        if lost & {t.name, *t.classes}
    }
    widths = ", ".join(f"{name} {size:.0f} A" for name, size in sizes.items())
    z, y, x = recipe.size_a
    raise InputError(
        f"{'Nothing' if nothing else 'Not everything'} found a place ({short or ', '.join(sorted(lost))}). The "
        f"specimen is {z:g} x {y:g} x {x:g} A (z, y, x), walls {recipe.walls!r}{f'; widths: {widths}' * bool(widths)}. "
        "Make its shape larger, open its walls (walls: none), or ask for fewer or smaller objects."
    )


def refuse_unlabelled(scene: Scene, recipe: SpecimenRecipe) -> None:
    """Refuse a specimen with particles that the atlas does not show, though their class has an id.

    Raises
    ------
    InputError
        It names the structure, its class, and the number of its atoms.
    """
    from volengine.sim.render import unlabelled

    lost = unlabelled(scene, recipe.voxel_size)
    if lost:
        template, name = lost[0]
        count = int((scene.placements.template == scene.templates.index(template)).sum())
        weight = float(template.weight[template.part == template.classes.index(name)].sum())
        made = f"{template.atoms:,} atoms" if template.atoms else f"{len(template.point):,} points"
        raise InputError(
            f"{template.name}: {count} are placed, but no voxel of {recipe.voxel_size:g} A would be labelled {name!r}: "
            f"its {made} ({weight:.0f} V A^3 of this class) reach {scene.threshold:.2f} V in none. Does the structure "
            "list a part of its atoms (a C-alpha trace)? Then give whole_residues: true. Or use larger voxels, or the "
            "id 0 (classes) if it is background."
        )
