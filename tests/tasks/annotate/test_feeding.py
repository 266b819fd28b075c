"""What is annotated is what a training sees; what others have annotated comes in; everything is a command, too."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import mrcfile
import numpy as np
import pytest
from scnt_write import ScntSample, write_scnt

import volengine as ve
from volengine.core.boxes import Box
from volengine.core.errors import InputError
from volengine.core.yaml_recipes import read_yaml
from volengine.tasks.annotate.brought import brought
from volengine.tasks.annotate.store import Annotations, new_annotations
from volengine.tasks.train.boxes import BoxPatches
from volengine.tasks.train.sources import open_sources

if TYPE_CHECKING:
    from calling import Command

SHAPE = (24, 72, 80)
WHOLE = Box.of_shape(SHAPE)


@pytest.fixture(scope="module")
def tomogram(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("tomogram") / "TS_01.mrc"
    with mrcfile.new(path) as mrc:
        mrc.set_data(np.random.default_rng(4).normal(size=SHAPE).astype(np.float32))
        mrc.voxel_size = 10.0
    return path


@pytest.fixture
def annotated(tomogram: Path, tmp_path: Path) -> Iterator[Annotations]:
    made = new_annotations(tomogram, tmp_path / "TS_01.annotations", ("membrane", "core"), user="ada")
    for z in (3, 9, 15, 20):
        for feature, row in (("membrane", 20), ("core", 50)):
            points = [[row, 5], [row + 9, 70]]
            made.do({"op": "brush", "feature": feature, "slice": z, "points": points, "radius": 3}, "ada")
        made.do(
            {"op": "brush", "feature": "membrane", "slice": z, "points": [[24, 30]], "radius": 2, "value": "ignore"}
        )
    yield made
    made.close()


def boxes(made: Annotations, feature: str, *given: dict[str, Any]) -> None:
    for one in given:
        made.do({"op": "box", "feature": feature, **one}, "ada")


def recipe_of(path: str) -> ve.TrainRecipe:
    return ve.TrainRecipe.from_json(read_yaml(path))


def test_outside_of_training_boxes_everything_is_ignored(annotated: Annotations, tmp_path: Path) -> None:
    boxes(annotated, "membrane", {"slice": 3, "centre": [20, 16], "side": 32}, {"box": "8:11,10:40,20:60"})
    boxes(annotated, "membrane", {"slice": 15})
    at = annotated.version
    annotated.do({"op": "brush", "feature": "membrane", "slice": 3, "points": [[5, 5]], "radius": 4}, "bob")
    made = ve.export_training(annotated, tmp_path / "out", version=at)
    url, _, group = made.labels["membrane"].partition("#")
    found = ve.open_volume(url, group=group)[:]
    expected = np.full(SHAPE, 2, np.uint8)
    labels = annotated.labels("membrane", WHOLE, version=at)
    for box in (Box((3, 4, 0), (4, 36, 32)), Box((8, 10, 20), (11, 40, 60)), Box((15, 0, 0), (16, 72, 80))):
        expected[box.slices] = labels[box.slices]
    assert (found == expected).all()
    samples = recipe_of(made.recipe).samples
    assert [(s.box_vox if s.boxes else 0, s.slices, s.region) for s in samples] == [
        (32, (), None),
        (0, (15,), None),
        (0, (), "0:24,9:41,20:60"),
    ]


def test_a_training_reads_boxes_of_several_features_and_sides_as_they_are(
    annotated: Annotations, tmp_path: Path
) -> None:
    for z in (3, 9, 15, 20):
        boxes(annotated, "membrane", *({"slice": z, "centre": [24, c], "side": 32} for c in (0, 40, 79)))
        boxes(annotated, "core", {"slice": z, "centre": [52, 30], "side": 24})
    recipe = recipe_of(ve.export_training(annotated, tmp_path / "out").recipe)
    assert (recipe.network, recipe.patch, recipe.features) == ("unet", (1, 32, 32), ("membrane", "core"))
    sources = open_sources(recipe.samples, recipe.rules())
    seen = dict.fromkeys(range(2), 0)
    for feature, source in enumerate(sources):
        assert isinstance(source, BoxPatches)
        starts = [*source.training_boxes, *source.held_out_boxes]
        given = [box.start for _, box in annotated.boxes(("membrane", "core")[feature])]
        assert sorted(starts) == sorted(given)
        for start in starts:
            box = source._box(start)
            labels = source.labels.read(box)
            assert (labels[feature] == annotated.labels(("membrane", "core")[feature], box)).all()
            assert (labels[1 - feature] == 2).all()
            seen[feature] += int((labels[feature] == 1).any())
        image, truth = source.draw(np.random.default_rng(0))
        assert image.shape[-2:] == truth.shape[-2:] == (32, 32)
    assert min(seen.values()) > 0


def test_an_export_is_refused_where_nobody_knows_what_is_background(annotated: Annotations, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="has no training box and no point"):
        ve.export_training(annotated, tmp_path / "out")
    boxes(annotated, "core", {"slice": 3})
    with pytest.raises(InputError, match="membrane has no training box"):
        ve.export_training(annotated, tmp_path / "out", ["membrane"])
    with pytest.raises(InputError, match="there is no feature 'ribosome'"):
        ve.export_training(annotated, tmp_path / "out", ["ribosome"])
    first = ve.export_training(annotated, tmp_path / "out")
    assert ve.export_training(annotated, tmp_path / "out") == first, "the same version again is no conflict"
    annotated.do({"op": "brush", "feature": "core", "slice": 3, "points": [[5, 5]], "radius": 4}, "bob")
    with pytest.raises(InputError, match="exists"):
        ve.export_training(annotated, tmp_path / "out")
    made = ve.export_training(annotated, tmp_path / "out", overwrite=True)
    url, _, group = made.labels["core"].partition("#")
    assert ve.open_volume(url, group=group)[3][5, 5] == 1


def test_points_are_a_table_of_picks_and_come_back(annotated: Annotations, tmp_path: Path) -> None:
    places = [[1.0, 2.0, 3.0], [20.0, 40.5, 79.0]]
    for position in places:
        annotated.do({"op": "point", "feature": "core", "position": position}, "ada")
    made = ve.export_training(annotated, tmp_path / "out")
    assert made.recipe == ""
    assert ve.read_picks(made.points["core"], shape=SHAPE).position_vox.tolist() == places
    for operation in list(brought(annotated, made.points["core"], "ribosome", 5.0)):
        annotated.do(operation, "bob")
    assert [one.facts for one in annotated.points("ribosome")] == [{"position": p, "radius": 5.0} for p in places]
    annotated.do({"op": "point", "feature": "ribosome", "position": places[1]}, "ada")
    made = ve.export_training(annotated, tmp_path / "again")
    for operation in list(brought(annotated, made.points["ribosome"], "vesicle")):
        annotated.do(operation, "bob")
    facts = [one.facts for one in annotated.points("vesicle")]
    assert facts == [one.facts for one in annotated.points("ribosome")]


@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize("middle", [False, True])
def test_boxes_of_ais_are_found_in_the_tomogram(
    annotated: Annotations, tmp_path: Path, turned: bool, middle: bool
) -> None:
    grey = ve.open_volume(annotated.facts.tomogram)[:]
    labels = np.random.default_rng(1).integers(0, 3, (16, 16)).astype(np.uint8)
    z, y, x = 7, 30, 40
    flip = slice(None, None, -1) if turned else slice(None)
    given = (z, y + 8, x + 8) if middle else (z, y, x)
    image = grey[z - 1 : z + 2, y : y + 16, x : x + 16][:, flip] * 3 - 1
    samples = [ScntSample(image, labels[flip], "data/TS_01.mrc", "vesicle", given)]
    samples.append(ScntSample(image, labels[flip], "data/TS_02.mrc", "vesicle", given))
    write_scnt(str(tmp_path / "set.scnt"), samples, 10.0, normalisation="none")
    for operation in list(brought(annotated, str(tmp_path / "set.scnt"), "vesicle")):
        annotated.do(operation, "ada")
    box = Box((z, y, x), (z + 1, y + 16, x + 16))
    assert [found for _, found in annotated.boxes("vesicle")] == [box]
    assert (annotated.labels("vesicle", box)[0] == labels).all()
    assert annotated.labels("vesicle", WHOLE).any(axis=(1, 2)).sum() == 1


def test_boxes_of_another_tomogram_are_refused(annotated: Annotations, tmp_path: Path) -> None:
    image = np.random.default_rng(9).normal(size=(1, 16, 16)).astype(np.float32)
    sample = ScntSample(image, np.ones((16, 16), np.uint8), "data/TS_01.mrc", "vesicle", (7, 30, 40))
    write_scnt(str(tmp_path / "set.scnt"), [sample], 10.0, normalisation="none")
    with pytest.raises(InputError, match="is not that of TS_01 at slice 7"):
        list(brought(annotated, str(tmp_path / "set.scnt"), "vesicle"))
    with pytest.raises(InputError, match="holds no box of 'core' in TS_01"):
        list(brought(annotated, str(tmp_path / "set.scnt"), "core"))


# -- commands ------------------------------------------------------------------------------------------------------


def test_everything_is_a_command_and_the_log_does_it_again(volengine: Command, tomogram: Path, tmp_path: Path) -> None:
    assert volengine("annotate", "new", str(tomogram), "--out", "a.annotations", "--features", "membrane", "-q")[0] == 0
    lines: list[dict[str, Any]] = [
        {"op": "brush", "feature": "membrane", "slice": 3, "points": [[20, 5], [20, 60]], "radius": 4},
        {"op": "brush", "feature": "membrane", "slice": 3, "points": [[20, 30]], "radius": 6, "value": "background"},
        {"op": "box", "feature": "membrane", "slice": 3, "centre": [20, 20], "side": 32},
        {"op": "undo", "version": 3},
        {"op": "redo"},
        {"op": "undo", "version": 2},
    ]
    Path("lines.jsonl").write_text(
        "\n".join(map(json.dumps, lines[:3])) + "\n\n" + "\n".join(map(json.dumps, lines[3:]))
    )
    code, said, _ = volengine("annotate", "stroke", "a.annotations", "lines.jsonl", "--user", "ada")
    assert (code, said) == (0, "a.annotations: 6 transactions, versions 2 to 7\n")
    code, said, _ = volengine("annotate", "redo", "a.annotations", "--user", "ada")
    assert (code, said) == (0, "a.annotations: version 8, redo of version 2\n")
    code, said, _ = volengine("annotate", "status", "a.annotations")
    assert "membrane (#F0E442)" in said
    assert "1 box; 0 points; by ada" in said
    log = volengine("annotate", "status", "a.annotations", "--log")[1]
    Path("log.jsonl").write_text(log)
    assert volengine("annotate", "new", str(tomogram), "--out", "b.annotations")[0] == 0
    assert volengine("annotate", "stroke", "b.annotations", "log.jsonl", "--user", "ada", "--no-images")[0] == 0
    assert "volengine annotate merge b.annotations" in volengine("annotate", "status", "b.annotations")[1]
    assert volengine("annotate", "merge", "b.annotations")[0] == 0
    first, second = (ve.open_volume(f"{n}.annotations/labels.ome.zarr", group="labels/membrane")[:] for n in "ab")
    assert first.any()
    assert (first == second).all()
    code, said, _ = volengine("annotate", "export", "b.annotations", "--out", "training")
    assert code == 0
    assert "volengine train training/train.yaml" in said
    code, said, _ = volengine("annotate", "compact", "b.annotations", "--keep", "0")
    assert (code, said) == (0, "b.annotations: versions up to 8 are one; those up to 8 can be undone\n")
    code, _, said = volengine("annotate", "undo", "b.annotations", "--user", "ada", "--version", "2")
    assert code == 2
    assert "Version 2 was compacted" in said
    labels = f"{tmp_path}/b.annotations/labels.ome.zarr#labels/membrane"
    assert volengine("annotate", "import", "a.annotations", labels, "--feature", "copy")[0] == 0
    facts = json.loads(volengine("annotate", "status", "a.annotations", "--json")[1])
    assert [one["voxels"] for one in facts["features"]] == [facts["features"][0]["voxels"]] * 2


def test_a_line_that_cannot_be_carried_out_is_named_and_those_before_it_are_done(
    volengine: Command, tomogram: Path
) -> None:
    assert volengine("annotate", "new", str(tomogram), "--out", "a.annotations", "--features", "core")[0] == 0
    good = json.dumps({"op": "brush", "feature": "core", "slice": 3, "points": [[20, 5]], "radius": 4})
    for bad, message in (
        (good.replace("3", "99", 1), "Slice 99 along z"),
        ("{", "is damaged: it is no JSON"),
        ('{"op": "brush"}', "'feature' is missing"),
    ):
        Path("lines.jsonl").write_text(f"{good}\n\n{bad}\n{good}\n")
        code, _, said = volengine("annotate", "stroke", "a.annotations", "lines.jsonl", "--user", "ada")
        assert code == 2
        assert "lines.jsonl, line 3" in said
        assert message in said
        assert "1 operation before it: done" in said
    assert "no such file" in volengine("annotate", "stroke", "a.annotations", "none.jsonl")[2]
    Path("lines.jsonl").write_bytes(b"\xff\xfe{")
    assert "is no text in UTF-8" in volengine("annotate", "stroke", "a.annotations", "lines.jsonl")[2]
    with Annotations("a.annotations") as made:
        assert made.version == 4
        core = ve.open_volume("a.annotations/labels.ome.zarr", group="labels/core")
        assert (core[:] == made.labels("core", WHOLE)).all()


def test_several_tomograms_are_one_training(
    annotated: Annotations, tomogram: Path, tmp_path: Path, volengine: Command
) -> None:
    boxes(
        annotated,
        "membrane",
        {"slice": 3, "centre": [20, 16], "side": 32},
        {"slice": 9, "centre": [20, 40], "side": 32},
    )
    boxes(annotated, "core", {"slice": 15, "centre": [54, 40], "side": 32})
    names = {"second": ("membrane",), "third": ()}
    for name, own in names.items():
        with new_annotations(tomogram, tmp_path / f"{name}.annotations", ("membrane", "core"), user="bob") as made:
            made.do({"op": "brush", "feature": "membrane", "slice": 5, "points": [[20, 20]], "radius": 4})
            for feature in own:
                boxes(made, feature, {"slice": 5, "centre": [20, 20], "side": 40})
    folders = [str(tmp_path / f"{name}.annotations") for name in ("TS_01", *names)]
    code, *said = volengine(
        "annotate", "export", *folders, "--out", str(tmp_path / "all"), "--features", "membrane,core"
    )
    assert code == 0
    assert "third.annotations: no training boxes" in "".join(said)
    recipe = recipe_of(str(tmp_path / "all" / "train.yaml"))
    assert (recipe.features, recipe.network, recipe.patch) == (("membrane", "core"), "unet", (1, 32, 32))
    alone = recipe_of(ve.export_training(annotated, tmp_path / "alone").recipe)
    assert [(s.features, s.box_vox, len(s.labels)) for s in recipe.samples] == [
        *((s.features, s.box_vox, 1) for s in alone.samples),
        (("membrane",), 40, 1),
    ]
    sources = open_sources(recipe.samples, recipe.rules())
    assert np.sum([source.positives for source in sources], axis=0).tolist() == [3, 1]
    assert ({s.use for s in recipe.samples}, recipe.validation_share) == ({"train"}, 0)  # there are few boxes of each
    (url, _, group), (other, _, _) = (made.samples[0].labels[0].partition("#") for made in (recipe, alone))
    assert (ve.open_volume(url, group=group)[:] == ve.open_volume(other, group=group)[:]).all()
    with pytest.raises(InputError, match=r"train\.yaml exists"):
        ve.export_all(folders, tmp_path / "all")
    with pytest.raises(InputError, match="No tomogram has a training box of core"):
        ve.export_all(folders[1:], tmp_path / "others", ("core",))
    assert not (tmp_path / "others").exists()
