"""Nothing lost, nothing mixed: whatever happens to a run, it ends with the undisturbed bytes or with an error."""

from __future__ import annotations

import hashlib
import random
import shutil
from pathlib import Path

import numpy as np
import pytest
from engine_parts import Part, long_plan
from engine_plans import stored
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from volengine.core.errors import RunError, VolengineError
from volengine.engine.ledger import PlanFolder
from volengine.engine.options import RunOptions
from volengine.engine.run import run_plan
from volengine.engine.state import PlanState
from volengine.engine.verify import withdraw
from volengine.engine.work import Worker
from volengine.io.omezarr import image as omezarr
from volengine.io.omezarr.codecs import prefer_fast_codecs
from volengine.tasks.verify.verb import verify

SHAPE = (8, 8, 12)
QUIET = RunOptions(progress=False, durable=False)
KINDS = ("t-x.ome.zarr/0", "t-y.ome.zarr/0", "run/plans/t/scratch/d.zarr", "run/plans/t/tables", "t.txt")
"""Places of results, of every kind, in the folder of a run."""


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A source with empty parts, so that some objects are not stored, and the undisturbed results."""
    prefer_fast_codecs()
    folder = tmp_path_factory.mktemp("home")
    array = np.random.default_rng(1).integers(0, 100, SHAPE).astype("int16")
    array[:, :4] = 0
    source = stored(folder, array)
    run_plan(long_plan(folder, source), str(folder / "run"), QUIET)
    return folder, source, digest(folder)


def digest(folder: Path) -> dict[str, str]:
    """Digests of the objects of the images and of the product; metadata differ, as they have a time and a token."""
    files = [*folder.glob("t-?.ome.zarr/0/c/**/*"), folder / "t.txt"]
    return {str(f.relative_to(folder)): hashlib.sha256(f.read_bytes()).hexdigest() for f in files if f.is_file()}


def complete(folder: Path) -> bool:
    return all(omezarr.is_complete(str(folder / f"t-{image}.ome.zarr")) for image in "xy")


def objects(folder: Path, kind: str) -> list[Path]:
    """The files of a kind of result that are in place now."""
    place = folder / kind
    files = [place] if place.is_file() else [f for f in place.rglob("*") if f.is_file()]
    return sorted(f for f in files if f.name not in ("zarr.json", "manifest.json") and not f.name.startswith("."))


ACTIONS = st.one_of(
    st.tuples(st.sampled_from(["step", "fall_behind", "wake", "kill"]), st.integers(0, 1)),
    st.tuples(st.sampled_from(["delete", "truncate", "flip"]), st.integers(0, 10**6)),
)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(actions=st.lists(ACTIONS, min_size=5, max_size=60), seed=st.integers(0, 10**6))
def test_two_live_parts_end_with_the_undisturbed_bytes_or_an_error(home, tmp_path, actions, seed):
    _, source, right = home
    folder = tmp_path / f"f{random.Random(str((seed, actions))).getrandbits(64):x}"
    plan = long_plan(folder, source)
    parts = [Part(plan, folder, f"{k}/2") for k in (1, 2)]
    orphans = []
    for action, number in actions:
        if action in ("delete", "truncate", "flip"):
            spoil(folder, action, number)
        elif action == "kill":
            orphans += [worker for _, worker in parts[number].late]
            parts[number].kill()
        else:
            getattr(parts[number], action)()
    for turn in range(400):
        if all(part.ended for part in parts):
            break
        for part in parts:
            if turn == 30:
                part.wake()
            part.step()
    assert all(part.ended for part in parts)
    failed = [part.state.error for part in parts if part.state.error is not None]
    for worker in orphans:  # they end last, after the run
        worker.wake()
    if not failed:
        assert complete(folder)
    if complete(folder) and not any(a[0] in ("flip", "truncate", "delete") for a in actions):
        assert digest(folder) == right
    # What was spoiled after the end is found by the next run, or is an error when it is read; never believed.
    for _ in range(3):
        try:
            run_plan(plan, str(folder / "run"), QUIET)
            break
        except (RunError, VolengineError):
            continue
    found = digest(folder)
    wrong = {str(folder / name) for name in found if found[name] != right.get(name)}
    assert found.keys() == right.keys()
    if not any(action == "flip" for action, _ in actions):
        assert not wrong
    assert {problem.where for problem in verify(folder, deep=True, options=QUIET).problems} == wrong
    withdraw(PlanFolder(folder / "run" / "plans" / "t"))
    run_plan(plan, str(folder / "run"), QUIET)
    assert digest(folder) == right
    shutil.rmtree(folder)


def spoil(folder: Path, action: str, number: int) -> None:
    """Delete, shorten or change one result, as a broken disk or a hasty user does."""
    files = [file for kind in KINDS for file in objects(folder, kind)]
    if not files:
        return
    file = files[number % len(files)]
    data = bytearray(file.read_bytes())
    if action == "delete":
        file.unlink()
    elif action == "truncate":
        file.write_bytes(data[: len(data) // 2])
    elif data:
        data[number % len(data)] ^= 1 << (number % 8)
        file.write_bytes(data)


@pytest.mark.parametrize("share", [0.3, 0.5, 0.8])
def test_a_table_that_is_damaged_before_the_products_are_written_is_made_again(home, tmp_path, share):
    """A flipped bit has the right size, so only reading tells; the last reader is the call that writes the product."""
    _, source, right = home
    part = Part(long_plan(tmp_path, source), tmp_path, None)
    while not part.state.at_end:
        bundle = part.state.next_bundle(4)
        if bundle is not None:
            part._end(bundle, [r for some in Worker(bundle).run() for r in some], None)
        part.state.advance()
    table = tmp_path / "run/plans/t/tables/total/0000/0.npz"
    data = bytearray(table.read_bytes())
    data[int(share * len(data))] ^= 16
    table.write_bytes(data)
    for _ in range(200):
        part.step()
    assert part.state.finished
    assert part.state.error is None
    assert digest(tmp_path) == right
    found = {problem.where for problem in verify(tmp_path, deep=True, options=QUIET).problems}
    assert found <= {str(table)}  # where the bit has no meaning for what is read, only the checksum tells


@pytest.mark.parametrize("killed", [False, True])
def test_a_lost_object_that_was_made_from_deleted_scratch_is_made_again_at_once(home, tmp_path, killed):
    """The scratch array behind it is made again, and nothing else that was deleted: the sums of the blocks are not."""
    _, source, right = home
    plan = long_plan(tmp_path, source)
    run_plan(plan, str(tmp_path / "run"), QUIET)
    objects(tmp_path, "t-y.ome.zarr/0")[0].unlink()
    if killed:  # after it has seen what is to be done
        PlanState(plan, PlanFolder(tmp_path / "run" / "plans" / "t"), QUIET, 10**12).prepare()
    report = run_plan(plan, str(tmp_path / "run"), QUIET)
    units = len(plan.stage("less").tiling)
    assert [s["run"] for s in report.data["plans"]["t"]["stages"]] == [0, 0, 0, units, 1]
    assert digest(tmp_path) == right
    assert verify(tmp_path, deep=True, options=QUIET)
