"""Small runs of what people draw and say: annotations, and decisions about picks."""

from __future__ import annotations

import json
from pathlib import Path

from small_cases import SmallRuns, case, command
from small_inputs import true_picks


@case("annotate")
def _annotate(runs: SmallRuns, out: Path) -> None:
    """Strokes of two users from lines, an undo of the earlier one, and training data."""
    import volengine as ve

    lines = runs.file("strokes.jsonl", lambda p: Path(p).write_text("\n".join(map(json.dumps, STROKES))))
    tomogram = runs.tomogram()
    command("annotate", "new", tomogram, "--out", out / "a.annotations", "--features", "shell", "--user", "ada")
    command("annotate", "stroke", out / "a.annotations", lines, "--user", "ada")
    stroke = {"op": "brush", "feature": "shell", "axis": "x", "slice": 9, "points": [[4, 20], [14, 8]], "radius": 3}
    ve.annotate(out / "a.annotations", [{**stroke, "value": "background"}, {"op": "undo"}, {"op": "redo"}], "bob")
    command("annotate", "undo", out / "a.annotations", "--user", "ada", "--version", "2")
    command("annotate", "export", out / "a.annotations", "--out", out / "training")
    (out / "training" / "train.yaml").unlink()  # it names this machine's folders
    for name in ("journal", "annotations.json"):  # times of strokes, and a random name
        (out / "a.annotations" / name).unlink()


STROKES = (
    {"op": "brush", "feature": "shell", "slice": 8, "points": [[6, 6], [20, 22]], "radius": 3.5},
    {"op": "polygon", "feature": "shell", "slice": 8, "points": [[4, 4], [4, 18], [16, 9]]},
    {"op": "fill", "feature": "shell", "slice": 5, "seed": [10, 10], "radius": 8, "band": 2},
    {"op": "brush", "feature": "shell", "slice": 12, "points": [[8, 8], [18, 18]], "radius": 6},
    {"op": "interpolate", "feature": "shell", "between": [8, 12], "value": "ignore"},
    {"op": "box", "feature": "shell", "slice": 8, "centre": [12, 12], "side": 16},
)


@case("curate")
def _curate(runs: SmallRuns, out: Path) -> None:
    """Decisions of two users about picks, an undo, picks added and moved; written in two formats."""
    import volengine as ve

    picks = runs.file("curated.star", lambda p: ve.write_picks(p, true_picks()))
    edits = runs.file("edits.jsonl", lambda p: Path(p).write_text("\n".join(map(json.dumps, EDITS))))
    curation = out / "a.curation"
    command("curate", "new", picks, "--out", curation, "--user", "ada")
    command("curate", "do", curation, edits, "--user", "ada")
    command("curate", "write", curation, "--out", out / "left.star", "--poses", "zero")
    command("curate", "write", curation, "--out", out / "all.csv", "--keep", "all", "--poses", "zero")
    curation.unlink()  # times of edits


EDITS = (
    {"op": "accept", "ids": [0, 1]},
    {"op": "reject", "ids": [2]},
    {"op": "tag", "ids": [1], "tag": "good"},
    {"op": "move", "id": 0, "position": [5.5, 6.25, 7]},
    {"op": "reject", "ids": [1]},
    {"op": "undo"},
    {"op": "add", "position": [8, 9, 10]},
)
