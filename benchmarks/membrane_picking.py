"""Picking on membranes, measured: the lattice of the demo's HIV-1 shells, and simulated vesicles with receptors.

    python benchmarks/membrane_picking.py hiv FOLDER
    python benchmarks/membrane_picking.py simulated FOLDER [--mass 450] [--watershed]

*hiv*: networks of the demo (in the package) predict shell and core of the whole tomogram; around each pick of core a
sphere is fitted to the prediction of shell (its vertices move along their normals to where the prediction has its
middle), and sampled. Known positions count as found within half a lattice step. The spheres know nothing of the
positions. *simulated*: vesicles with receptors at three densities and two doses; surfaces are those of the truth.
Precision and recall of receptors within 4 voxels, one to one; the angle is that between the axes. ``--watershed``:
beside them ``volengine train`` on balls of 4 nm and ``volengine pick``, 250 steps.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

import numpy as np
from scipy.sparse import coo_array, diags_array
from scipy.spatial import KDTree

from volengine.core.orientation import euler_to_matrix
from volengine.core.picks import Picks
from volengine.core.surface import Surface
from volengine.io.meshes import read_mesh
from volengine.io.open import open_volume
from volengine.io.picks import read_picks
from volengine.io.surfaces import SurfaceFacts, write_surfaces
from volengine.ops.score import pair_picks
from volengine.ops.surfaces.points import normals_of
from volengine.ops.surfaces.profile_sampling import along_normals
from volengine.tasks.surfaces.pick_verb import pick_on_surfaces
from volengine.tasks.surfaces.sample import sample_surfaces
from volengine.tasks.surfaces.sampler import Sampler
from volengine.tasks.surfaces.train import train_on_surfaces

STEP_VOX = 1.72
"""Median distance of neighbours in the lattice of the demo, voxels of 40 angstrom."""
RECIPE = """
name: {name}
seed: {seed}
specimen:
  shape: [60, 180, 180]
  voxel_size: 10.0
  vesicles: [{{count: 6, radius_nm: [16, 24], bare: 0.0}}]
  layers:
    - species: [{{structure: globule-{mass}, name: receptor, flags: [membrane], count: {count}}}]
    - species: [{{structure: globule-90, name: distract}}]
      iterations: 200
      density: 0.1
  classes: {{membrane: 1, receptor: 2, distract: 0}}
tilts: {{min_deg: -60, max_deg: 60, step_deg: 3, order: dose-symmetric}}
dose: {{total_e_per_a2: {dose}}}
exposure: {{optics: {{defocus_um: {{uniform: [3, 5]}}}}}}
"""
CASES = {"train": (11, 100, 120, 3), "sparse": (12, 30, 120, 1), "dense": (13, 160, 120, 1), "noisy": (14, 100, 40, 1)}
"""Seed, receptors, dose in electrons per square angstrom, samples."""


def volengine(*words: str) -> None:
    """Run a verb."""
    subprocess.run([sys.executable, "-m", "volengine.cli.main", *words, "-q"], check=True)


def fitted(centre: np.ndarray, shell: Sampler, radius: float = 400.0, rounds: int = 12, smoothing: int = 40) -> Surface:
    """A sphere around a place, moved to the middle of a prediction."""
    import trimesh

    ball = trimesh.creation.icosphere(4)
    ends = np.concatenate([ball.edges_unique, ball.edges_unique[:, ::-1]])
    near = coo_array((np.ones(len(ends)), ends.T), shape=(len(ball.vertices),) * 2).tocsr()
    mean = diags_array(1 / near.sum(axis=1)) @ near
    at, reach = centre + radius * np.asarray(ball.vertices)[:, ::-1], 240.0
    for _ in range(rounds):
        distance = np.arange(-reach, reach + 1, 20.0)
        normals = normals_of(Surface(at, ball.faces))
        value = np.nan_to_num(shell(along_normals(at, normals, distance)))
        weight = np.where(value > 0.3, value, 0) * np.exp(-0.5 * (distance / (reach / 2)) ** 2)
        total = weight.sum(axis=1)
        known = (total > 0.5).astype(float)
        move = np.where(known > 0, (weight * distance).sum(axis=1) / np.maximum(total, 1e-9), 0)
        for _ in range(smoothing):
            move, known = 0.5 * (mean @ move + move), 0.5 * (mean @ known + known)
        at = at + np.where(known > 1e-3, move / np.maximum(known, 1e-3), 0)[:, None] * normals
        reach = max(80.0, 0.85 * reach)
    return Surface(at, ball.faces)


def hiv(folder: Path) -> None:
    """Recall of the lattice's positions."""
    import mrcfile

    from volengine.io.training.sample import real_sample
    from volengine.tasks.demo.truth import truth_of

    sample = real_sample()
    truth = truth_of(sample)
    with mrcfile.new(folder / "hiv.mrc", overwrite=True) as file:
        file.set_data(sample.tomogram)
        file.voxel_size = 40.0
    data = Path(__file__).parents[1] / "volengine" / "data"
    for name in ("shell", "core"):
        model = str(data / f"demo_{name}.safetensors")
        volengine("segment", str(folder / "hiv.mrc"), "--models", model, "--out", str(folder / "seg"))
    core = str(folder / "core.star")
    options = ("--spacing-nm", "60", "--min-volume-nm3", "5000", "--overwrite")
    volengine("pick", str(folder / "seg" / "hiv__core.ome.zarr"), "--out", core, *options)
    shell = open_volume(str(folder / "seg" / "hiv__shell.ome.zarr"))
    centres = read_picks(core)
    surfaces = [(fitted(place, Sampler(shell, "linear")), {}) for place in centres.place]
    facts = SurfaceFacts("hiv", "shell", shell.voxel_size, shell.origin, shell.shape)
    write_surfaces(folder / "hiv.surfaces", surfaces, facts)
    annotated = np.flatnonzero(KDTree(truth.centres).query(centres.position_vox)[0] < 4) + 1
    print(f"{len(centres)} spheres, {len(annotated)} of them around the {len(truth.centres)} annotated particles")
    print("| spacing | points | recall | precision | one to one: precision, recall | angle: median, 95 % |")
    print("| --- | ---: | ---: | ---: | ---: | ---: |")
    for spacing in (7.0, 5.0, 3.5, 2.5):
        recipe = {"spacing_nm": spacing, "overwrite": True}
        found = sample_surfaces(folder / "hiv.surfaces", folder / "seeds.star", recipe).picks
        found = found[np.isin(found.extra["surface"], annotated)]
        known, nearest = KDTree(found.position_vox).query(sample.positions)
        near = known < STEP_VOX / 2
        there = KDTree(sample.positions).query(found.position_vox)[0] < STEP_VOX / 2
        pairs = pair_picks(found.position_vox, sample.positions, STEP_VOX / 2)
        cosine = (found.normal[nearest] * sample.normals).sum(axis=1)[near]
        angle = np.degrees(np.arccos(np.clip(cosine, -1, 1)))
        print(
            f"| {spacing} nm | {len(found)} | {near.mean():.2f} | {there.mean():.2f} | {pairs.precision:.2f}, "
            f"{pairs.recall:.2f} | {np.median(angle):.1f}, {np.percentile(angle, 95):.1f} |"
        )


def compared(found: Picks, known: Picks) -> str:
    """Columns of the table."""
    pairs = pair_picks(found.position_vox, known.position_vox, 4.0)
    if not len(pairs.pairs):
        return f"{len(found)} | 0 | 0 | - | -"
    angle = np.nan
    if found.euler is not None and known.euler is not None:
        one, other = (euler_to_matrix(p.euler)[:, :, 2] for p in (found, known))
        cosine = (one[pairs.pairs[:, 0]] * other[pairs.pairs[:, 1]]).sum(axis=1)
        angle = float(np.median(np.degrees(np.arccos(np.clip(cosine, -1, 1)))))
    shown = f"{angle:.1f}" if np.isfinite(angle) else "-"
    error = pairs.localisation_error_vox
    return f"{len(found)} | {pairs.precision:.2f} | {pairs.recall:.2f} | {error:.2f} | {shown}"


def simulated(folder: Path, mass: int, watershed: bool) -> None:
    """Precision, recall and angles of receptors."""
    for name, (seed, count, dose, samples) in CASES.items():
        (folder / f"{name}.yaml").write_text(RECIPE.format(name=name, seed=seed, count=count, dose=dose, mass=mass))
        volengine("simulate", str(folder / f"{name}.yaml"), "--out", str(folder / name), "--count", str(samples))
        for k in range(1, samples + 1):
            surfaces_of_truth(folder, name, f"{name}_{k:04d}")
    sets = [f"train_{k:04d}" for k in range(1, CASES["train"][3] + 1)]
    tomograms = [str(folder / "train" / "tomograms" / f"{one}.ome.zarr") for one in sets]
    tables = [str(folder / "train" / "picks" / f"{one}__receptor.star") for one in sets]
    model = str(folder / "receptor.safetensors")
    recipe = {"tomograms": tomograms, "picks": tables, "overwrite": True}
    print(train_on_surfaces([folder / f"{one}.surfaces" for one in sets], model, recipe, say=print).text)
    segmenter = str(folder / "watershed.safetensors")
    if watershed:
        given = ("--volume", ",".join(tomograms), "--points", ",".join(tables), "--radius-nm", "4")
        volengine("train", *given, "--features", "receptor", "--epochs", "5", "--out", segmenter)
    print("| case | method | picks | precision | recall | error, voxels | angle, degrees |")
    print("| --- | --- | ---: | ---: | ---: | ---: | ---: |")
    for name, (_, count, dose, _) in list(CASES.items())[1:]:
        one = f"{name}_0001"
        tomogram = str(folder / name / "tomograms" / f"{one}.ome.zarr")
        known = read_picks(folder / name / "picks" / f"{one}__receptor.star")
        case = f"{count} receptors, {dose} e/A²"
        density = {"from_nm": -5, "to_nm": 5, "disc_nm": 3, "spacing_nm": 8}
        for method, more in (("density", density), ("network", {"model": model, "spacing_nm": 6})):
            recipe = {"tomogram": tomogram, "overwrite": True, **more}
            found = pick_on_surfaces(folder / f"{one}.surfaces", folder / f"{one}_{method}.star", recipe).picks
            print(f"| {case} | on surfaces, {method} | {compared(found, known)} |", flush=True)
        if watershed:
            volengine("segment", tomogram, "--models", segmenter, "--out", str(folder / "seg"))
            prediction = str(folder / "seg" / f"{one}__receptor.ome.zarr")
            table = str(folder / f"{one}_watershed.star")
            volengine("pick", prediction, "--out", table, "--spacing-nm", "6", "--overwrite")
            print(f"| {case} | 3D network, watershed | {compared(read_picks(table), known)} |", flush=True)


def surfaces_of_truth(folder: Path, name: str, one: str) -> None:
    """The membranes of a simulated sample as a set of surfaces."""
    volume = open_volume(str(folder / name / "tomograms" / f"{one}.ome.zarr"))
    facts = SurfaceFacts(one, "membrane", volume.voxel_size, volume.origin, volume.shape)
    meshes = [read_mesh(file) for file in sorted((folder / name / "truth" / one).glob("membrane*.ply"))]
    surfaces = [(Surface(at - np.asarray(volume.origin), faces), {}) for at, faces, _ in meshes]
    write_surfaces(folder / f"{one}.surfaces", surfaces, facts)


def main() -> None:
    """Measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("hiv", "simulated"))
    parser.add_argument("folder", type=Path)
    parser.add_argument("--mass", type=int, default=450, help="mass of a receptor, kDa")
    parser.add_argument("--watershed", action="store_true", help="a 3D network and watershed beside it")
    given = parser.parse_args()
    given.folder.mkdir(parents=True, exist_ok=True)
    if given.what == "hiv":
        hiv(given.folder)
    else:
        simulated(given.folder, given.mass, given.watershed)


if __name__ == "__main__":
    main()
