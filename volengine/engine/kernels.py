"""The list of kernels and finish calls: only these are run because a file names them.

A plan names its kernels by texts (``"package.module:function"``). A plan that Python code of this process has made may
name any function: that code could call it itself. A plan that is read from a run folder is a file, which anybody may
have written; it may name the functions of this list, and those of installed plug-ins that the user has named, and no
others. When a run is resumed, nothing that its former plan names is run (:mod:`volengine.engine.resume`).

A plug-in adds its kernels with the entry-point group ``volengine.kernels``, one entry point for each
(``name = "package.module:function"``). The user names the plug-in by the name of its package.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from importlib import metadata

from volengine.core.errors import InputError, OldPlanError
from volengine.core.json_text import shown

GROUP = "volengine.kernels"

KERNELS: dict[str, tuple[str, ...]] = {
    "volengine.tasks.annotate.suggest_blocks": ("uncertain_block",),
    "volengine.tasks.common.blocks": ("mask_or_not", "span_of_block", "span_of_cell", "unpack_file"),
    "volengine.tasks.convert.blocks": ("copy_block",),
    "volengine.tasks.convert.montage_blocks": ("correlate_pair", "place_pieces", "solve_pieces"),
    "volengine.tasks.convert.project_blocks": ("above_block", "labels_block", "mask_block"),
    "volengine.tasks.denoise.blocks": ("mean_of_halves",),
    "volengine.tasks.filter.blocks": (
        "filter_block",
        "forward_block",
        "inverse_block",
        "local_block",
        "lower_block",
        "mean_square",
        "moments_block",
        "moments_whole",
        "percentiles_whole",
        "places_whole",
        "range_block",
        "range_whole",
        "rescale_block",
        "short_block",
        "spectrum_block",
        "spectrum_whole",
        "upper_block",
    ),
    "volengine.tasks.interact.blocks": ("gate_block",),
    "volengine.tasks.pick.blocks": (
        "ais_peaks_block",
        "ais_picks",
        "basins_block",
        "filament_voxels",
        "middles_block",
        "plateaus_of_regions",
        "relabel_block",
        "resolve_picks",
        "seams_block",
        "trace_filaments",
    ),
    "volengine.tasks.pick.filament_blocks": ("trace_cell", "voxels_by_cells"),
    "volengine.tasks.pick.tree_blocks": (
        "join_cell",
        "label_cell",
        "middles_by_cells",
        "nearest_cell",
        "relabel_by_cells",
        "space_cell",
    ),
    "volengine.tasks.picks.measure_blocks": (
        "beside_set",
        "beside_volume",
        "depth_in_slab",
        "value_of_volume",
    ),
    "volengine.tasks.report.page_blocks": ("make_page",),
    "volengine.tasks.score.blocks": ("score_block",),
    "volengine.tasks.segment.blocks": (
        "blend_block",
        "predict",
        "slice_cells",
        "slice_statistics",
    ),
    "volengine.tasks.segment.match_blocks": ("match_block", "restore_block"),
    "volengine.tasks.segment.mean_blocks": ("mean_block",),
    "volengine.tasks.simulate.blocks": (
        "expose_tilt",
        "label_block",
        "place_specimen",
        "project_block",
        "reconstruct_block",
        "render_block",
    ),
    "volengine.tasks.skeleton.blocks": ("object_voxels", "skeleton_block", "trace_lines"),
    "volengine.tasks.stats.blocks": (
        "ids_block",
        "merge_objects",
        "objects_block",
        "resolve_objects",
        "seams_block",
    ),
    "volengine.tasks.stats.tree_blocks": ("add_objects", "join_objects"),
    "volengine.tasks.surface.blocks": (
        "join_cell",
        "number_objects",
        "objects_block",
        "pieces_block",
        "seams_block",
    ),
    "volengine.tasks.surface.mesh_blocks": ("mesh_surfaces",),
    "volengine.tasks.surface.towards_blocks": ("label_cells", "label_places"),
    "volengine.tasks.surfaces.pick_blocks": ("find_particles", "least_of_scores", "score_rows", "spread_around"),
    "volengine.tasks.surfaces.profile_blocks": ("profile_rows", "unroll_surfaces"),
    "volengine.tasks.surfaces.sample_blocks": ("sample_points",),
    "volengine.tasks.surfaces.measure_blocks": ("border_of_surfaces", "boxes_of_surfaces", "measure_rows"),
}
"""The package's kernels: module, functions."""

CALLS: dict[str, tuple[str, ...]] = {
    "volengine.tasks.common.made": ("say_line",),
    "volengine.tasks.common.older": ("name_older",),
    "volengine.tasks.annotate.suggest_finish": ("keep_patches",),
    "volengine.tasks.convert.montage_finish": ("say_shifts",),
    "volengine.tasks.filter.finish": ("say_range", "write_amplitudes"),
    "volengine.tasks.interact.finish": ("say_masks",),
    "volengine.tasks.pick.finish": ("forget_labels", "write_table"),
    "volengine.tasks.picks.measure_finish": ("keep_measured",),
    "volengine.tasks.report.finish": ("write_index",),
    "volengine.tasks.run": ("forget_filtered", "forget_gated", "forget_labels"),
    "volengine.tasks.score.finish": ("write_scores",),
    "volengine.tasks.simulate.truth": ("write_truth",),
    "volengine.tasks.skeleton.finish": ("say_skeleton", "write_lines"),
    "volengine.tasks.stats.finish": ("write_counted",),
    "volengine.tasks.surface.finish": ("write_meshes",),
    "volengine.tasks.surfaces.picked_finish": ("write_picked", "write_sampled"),
    "volengine.tasks.surfaces.profile_finish": ("write_profiles",),
    "volengine.tasks.surfaces.measure_finish": ("write_measured",),
}
"""The package's calls at the end of a plan: module, functions."""

PURE = ("volengine.tasks.segment.blocks:blend_block",)
"""Kernels that blocks of another shape may need besides those of a plan (:mod:`volengine.engine.resume`). They work on
arrays and tables alone: no parameter of theirs names a file."""


def _names(table: dict[str, tuple[str, ...]]) -> frozenset[str]:
    return frozenset(f"{module}:{function}" for module, functions in table.items() for function in functions)


OWN_KERNELS, OWN_CALLS = _names(KERNELS), _names(CALLS)


def plugin_functions(plugins: Iterable[str]) -> frozenset[str]:
    """Return the kernels and calls of installed plug-ins; nothing is imported.

    Parameters
    ----------
    plugins
        Names of installed packages, as ``pip list`` shows them.

    Raises
    ------
    InputError
        A package of this name is not installed, or has no kernels.
    """
    wanted = {_plain(name): name for name in plugins}
    if not wanted:
        return frozenset()
    found: dict[str, set[str]] = {}
    for point in metadata.entry_points(group=GROUP):
        if point.dist is not None:
            found.setdefault(_plain(point.dist.name), set()).add(point.value.replace(" ", ""))
    for plain, name in wanted.items():
        if plain not in found:
            there = ", ".join(sorted(found)) or "none"
            raise InputError(f"plugins: {name}: no installed package of this name has kernels ({GROUP}); {there} has.")
    return frozenset().union(*(found[plain] for plain in wanted))


def _plain(name: str) -> str:
    return name.lower().replace("_", "-").replace(".", "-")


def check_listed(name: str, own: frozenset[str], also: Collection[str], where: str) -> None:
    """Refuse a function that a file names and that is not in the list.

    Parameters
    ----------
    name
        ``"package.module:function"``.
    own
        The package's functions of this kind.
    also
        Further names that may be run, as :func:`plugin_functions` gives them.
    where
        What names it, for the message.

    Raises
    ------
    OldPlanError
        The name is not in the list.
    """
    if name not in own and name not in also:
        raise OldPlanError(
            f"{where} names the function {shown(name)}, which volengine does not know. Files of a run folder are not "
            "code, so it is not run. If an installed plug-in has it, and you trust it, name the plug-in."
        )


class _Anything(Collection[str]):
    """Contains every name."""

    def __contains__(self, item: object) -> bool:
        return True

    def __iter__(self):  # type: ignore[no-untyped-def]
        return iter(())

    def __len__(self) -> int:
        return 0


ONLY_SHOWN: Collection[str] = _Anything()
"""Given as ``also`` where a plan is shown and nothing of it is run."""
