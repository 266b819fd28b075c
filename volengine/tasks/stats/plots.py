"""The figures of ``stats``: counts per tomogram, nearest-neighbour distances, cluster sizes, as SVG and PNG files.

No histograms are used: every tomogram and every cluster is a dot, and distances are cumulative curves.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from volengine.core.colours import colour_of
from volengine.ops.figures import Series, dots, figure_files, shares
from volengine.tasks.stats.recipe import StatsRecipe
from volengine.tasks.stats.tables import Counted


def plots_of(counted: Sequence[Counted], recipe: StatsRecipe) -> dict[str, bytes]:
    """Draw the figures ``counts``, ``nearest`` and ``clusters``; returns the contents of the files, by name."""
    groups = sorted({c.group for c in counted})
    classes = list(counted[0].classes)
    counts, sizes, near = [], [], []
    for k, name in enumerate(classes):
        for number, group in enumerate(groups):
            found = [c.classes[name] for c in counted if c.group == group]
            objects = np.array([len(one.objects) for one in found], float)
            counts.append(Series(group, name, objects, colour_of(number)))
            clusters = np.concatenate([one.clusters.sizes for one in found]).astype(float)
            sizes.append(Series(group, name, clusters, colour_of(number)))
        distance = np.concatenate([c.classes[name].nearest_nm for c in counted])
        near.append(Series(name, name, distance[np.isfinite(distance)], colour_of(k)))
    radius = f"{recipe.eps_nm:g} nm"
    figures = {
        "counts": dots(counts, "Objects per tomogram"),
        "nearest": shares(
            near, "Distance to the nearest object of the same class (nm)", (recipe.eps_nm, f"cluster radius, {radius}")
        ),
        "clusters": dots(sizes, f"Objects per cluster (radius {radius})"),
    }
    return {f"{name}.{kind}": data for name, f in figures.items() for kind, data in figure_files(f).items()}
