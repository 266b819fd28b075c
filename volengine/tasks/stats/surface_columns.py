"""The columns of the tables of ``stats --surface``."""

from __future__ import annotations

_PLACE = ("tomogram", "group", "set", "surface")
SPREAD = ("mean_nm", "sd_nm", "median_nm", "min_nm", "max_nm")
_CLUSTERS = ("clusters", "clustered", "clustered_share", "cluster_size_mean", "cluster_size_max")
_RIPLEY = (
    *("from_nm", "to_nm", "counted", "expected"),
    *(f"{name}{end}" for name in ("o", "k", "l_nm") for end in ("", "_chance_low", "_chance_high")),
    *("l_nm_global", "p"),
)
_NEAR = ("nearest_mean_nm", "nearest_sd_nm", "nearest_median_nm")

SURFACE_COLUMNS: dict[str, tuple[str, ...]] = {
    "surfaces": (
        *(*_PLACE, "class", "closed", "surface_um2", "counted_um2", "objects", "at_edge", "front", "back"),
        *("per_um2", "distance_mean_nm", "occupied_share", *_NEAR, *_CLUSTERS),
    ),
    "surfaces_pooled": (
        *("group", "class", "surfaces", "surfaces_with", "counted_um2", "objects", "at_edge", "other_side", "far"),
        *("per_um2", "per_um2_low", "per_um2_high", "occupied_share", "occupied_share_low", "occupied_share_high"),
        *(*_NEAR, "nearest_mean_nm_low", "nearest_mean_nm_high", *_CLUSTERS),
    ),
    "surface_objects": (
        *("tomogram", "class", "object", "state", "set", "surface", "z_nm", "y_nm", "x_nm", "distance_nm"),
        *("nearest_nm", "cluster", "core"),
    ),
    "surface_neighbours": (
        *("tomogram", "set", "surface", "class", "object", "to", "rank", "neighbour", "distance_nm"),
        *("bend_deg", "turn_deg", "bearing_deg", "angle_deg"),
    ),
    "surface_neighbours_pooled": (
        *("group", "class", "to", "rank", "objects", *SPREAD, "mean_nm_low", "mean_nm_high"),
    ),
    "ripley": (*_PLACE, "class", "to", *_RIPLEY),
    "ripley_pooled": ("group", "class", "to", "surfaces", *_RIPLEY, "k_low", "k_high", "l_nm_low", "l_nm_high"),
    "concentration": (*_PLACE, "class", "by", "low", "high", "area_um2", "objects", "per_um2"),
    "concentration_pooled": (
        *("group", "class", "by", "low", "high", "area_um2", "objects", "per_um2", "per_um2_low", "per_um2_high"),
    ),
    "contacts": (
        *("tomogram", "group", "set", "surface", "to_set", "to_surface", "area_um2", "area_share"),
        *("distance_min_nm", "distance_mean_nm", "objects"),
    ),
}
"""The columns of each table."""
