"""Label images of annotations, for other programs: of all users, and of each.

They are made from the journal. An image says at which version it is; only blocks in which anything has changed since
are written. While they are written the image is not complete, and volengine refuses to open it. The server of the
workbench keeps them up to date while people draw.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from volengine.core.boxes import Box, Index3, index3
from volengine.core.image import ImageSpec
from volengine.io.annotations.blocks import BLOCK, LABELS, box_of
from volengine.io.annotations.folder import AnnotationFacts
from volengine.io.annotations.history import MERGED, History
from volengine.io.annotations.layers import Layers
from volengine.io.omezarr.arrays import ZarrSink
from volengine.io.omezarr.image import (
    create_image,
    finish_image,
    found_facts,
    is_complete,
    remove,
    reopen_image,
    store_token,
)
from volengine.io.omezarr.levels import plan_levels
from volengine.io.omezarr.node_files import update_attributes
from volengine.io.omezarr.nodes import Node
from volengine.tasks.annotate.store import Annotations, colours_in

MERGED_STORE, USERS = "labels.ome.zarr", "users"


def merge(annotations: Annotations) -> dict[str, int]:
    """Bring the label images up to the last version.

    Returns
    -------
    dict
        For each image that was written, ``labels.ome.zarr#labels/membrane``, the number of its blocks that were.

    Raises
    ------
    InputError
        The folder cannot be written to, or holds something else under the name of an image.
    """
    with annotations.alone() as (history, layers):
        return dict(_written(annotations, history, layers))


def bring_up(annotations: Annotations) -> dict[str, int]:
    """Do as :func:`merge` does, but let others draw between two images, which may then be of two versions.

    Returns
    -------
    dict
        As of :func:`merge`; errors too.
    """
    with annotations.reading() as (history, _):
        ones = [(feature, layer) for feature in history.features() for layer in (MERGED, *history.layers(feature))]
    written: dict[str, int] = {}
    for one in ones:
        with annotations.alone() as (history, layers):
            written.update(_written(annotations, history, layers, one))
    return written


def _written(
    annotations: Annotations, history: History, layers: Layers, only: tuple[str, str] | None = None
) -> Iterator[tuple[str, int]]:
    """Write the images that are behind, or one of them; yield name and number of blocks of those that were written."""
    for feature, colour in colours_in(history.features()).items():
        for layer in (MERGED, *history.layers(feature)):
            if only not in (None, (feature, layer)):
                continue
            spec = _spec(annotations, feature, layer)
            count = _write(spec, history, layers, (feature, layer), annotations.facts.token)
            if count is not None:
                _paint(spec, colour)
                at = spec.url.removeprefix(str(annotations.folder)).lstrip("/")
                yield f"{at}#{spec.group}", count


def behind(annotations: Annotations) -> int | None:
    """Return by how many versions the label images are behind the journal; ``None`` if any of them is not there."""
    with annotations.reading() as (history, _):
        layers = [(f, layer) for f in history.features() for layer in (MERGED, *history.layers(f))]
        found = [_version(_spec(annotations, *one), history, annotations.facts.token) for one in layers]
        known = [version for version in found if version is not None]
        return None if len(known) < len(found) else max((history.version - v for v in known), default=0)


def _spec(annotations: Annotations, feature: str, layer: str) -> ImageSpec:
    folder = annotations.folder
    url = folder / MERGED_STORE if layer == MERGED else folder / USERS / f"{layer}.ome.zarr"
    return label_spec(annotations.facts, str(url), feature, {"user": layer} if layer else {}, chunk=BLOCK)


def label_spec(
    facts: AnnotationFacts, url: str, feature: str, more: Mapping[str, Any], chunk: Index3 | None = None
) -> ImageSpec:
    """The label image of a feature in a store; with ``chunk`` each chunk is an object of its own."""
    levels = plan_levels(facts.shape, chunk=chunk, shard=None if chunk else "auto", levels=1)
    return ImageSpec(
        url, facts.name, "uint8", "labels", facts.voxel_size, levels, facts.origin, f"labels/{feature}",
        facts={"feature": feature, **more},
    )  # fmt: skip


def _version(spec: ImageSpec, history: History, token: str) -> int | None:
    """The version of an image; ``None`` if it is not there, not complete, or older than the base."""
    if store_token(spec.url, spec.group) != token or not is_complete(spec.url, spec.group):
        return None
    version = found_facts(spec).get("version")
    return version if isinstance(version, int) and history.base <= version <= history.version else None


def _write(spec: ImageSpec, history: History, layers: Layers, of: tuple[str, str], token: str) -> int | None:
    """Write the blocks of an image that have changed; return their number, or ``None`` if it is up to date."""
    feature, layer = of
    have = _version(spec, history, token)
    blocks = history.touched(feature, layer)
    if have is None:
        if store_token(spec.url, spec.group) == token:  # half written, or older than the base: what it holds is unknown
            remove(spec.url, spec.group)
        create_image(spec, token=token, durable=True)
    elif have == history.version:
        return None
    else:
        changed = history.changed(have).get(feature, set())
        blocks = [block for block in blocks if block in changed]
        reopen_image(spec, durable=True)
    sink, whole = ZarrSink(spec.volume()), Box.of_shape(spec.levels[0].shape)
    for block in blocks:
        box = box_of(block).intersect(whole)
        codes = layers.block(feature, layer, block, history.version)
        sink.write(box, LABELS[codes[box.shift(index3(-a for a in box_of(block).start)).slices]])
    sink.flush()
    finish_image(spec, found={"version": history.version}, durable=True)
    return len(blocks)


def _paint(spec: ImageSpec, colour: str) -> None:
    """Say the colours of the labels, as viewers read them."""
    red, green, blue = (int(colour[n : n + 2], 16) for n in (1, 3, 5))
    colours = [
        {"label-value": 1, "rgba": [red, green, blue, 255]},
        {"label-value": 2, "rgba": [128, 128, 128, 128]},
    ]

    def changed(node: Node) -> dict[str, Any]:
        ome = dict(node.attributes["ome"])
        return {"ome": {**ome, "image-label": {"colors": colours}}}

    update_attributes(spec.url, spec.group, changed)
