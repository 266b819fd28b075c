"""Picking on membranes, measured: the lattice of the demo's HIV-1 shells, and simulated vesicles with receptors.

    python benchmarks/membrane_picking.py hiv FOLDER
    python benchmarks/membrane_picking.py simulated FOLDER [--mass 450] [--watershed]

*hiv*: networks of the demo (in the package) predict shell and core of the whole tomogram; around each pick of core a
sphere of spherical harmonics is fitted to the prediction of shell, then once to the tomogram's density along its
normals, and sampled. Known positions count as found within half a lattice step. The spheres know nothing of the
positions. Beside them random points in the prediction, and watershed. *simulated*: vesicles with receptors at three
densities and two doses; surfaces are those of the truth. Precision and recall of receptors within 4 voxels, one to one;
the angles are those between the axes, and about the normal of the picks that say that it is known (with their share).
``--watershed``: beside them ``volengine train`` on balls of 4 nm and ``volengine pick``, 250 steps.
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
from volengine.tasks.surfaces.averaging import turns_on
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


class Shells:
    """Spheres around places, moved to the middle of a prediction, and then to where the tomogram says.

    The radius is a sum of spherical harmonics, of which bent ones cost (the squared Laplacian on the sphere): at the
    poles the missing wedge hides the shell, and there the rest of the sphere says where it is.
    """

    def __init__(self, order: int = 8, stiffness: float = 3e-3):
        import trimesh
        from scipy.special import sph_harm_y

        ball = trimesh.creation.icosphere(4)
        self.faces, self.directions = ball.faces, np.asarray(ball.vertices)[:, ::-1]
        polar, turn = np.arccos(np.clip(self.directions[:, 0], -1, 1)), np.arctan2(*self.directions[:, 1:].T)
        orders = [(n, m) for n in range(order + 1) for m in range(-n, n + 1)]
        parts = [(sph_harm_y(n, abs(m), polar, turn), m) for n, m in orders]
        basis = np.stack([value.real if m >= 0 else value.imag for value, m in parts], axis=1)
        self.basis = basis / np.linalg.norm(basis, axis=0)
        self.cost = np.diag([stiffness * (n * (n + 1.0)) ** 2 for n, _ in orders])
        ends = np.concatenate([ball.edges_unique, ball.edges_unique[:, ::-1]])
        near = coo_array((np.ones(len(ends)), ends.T), shape=(len(ball.vertices),) * 2).tocsr()
        self.mean = diags_array(1 / near.sum(axis=1)) @ near

    def smooth(self, centre: np.ndarray, at: np.ndarray, move: np.ndarray, weight: np.ndarray) -> np.ndarray:
        """The vertices of the stiff sphere that comes nearest to vertices which are moved along their normals."""
        outward = (self.normals(at) * self.directions).sum(axis=1)
        radius = np.linalg.norm(at - centre, axis=1) + move * outward
        normal_matrix = self.basis.T @ (weight[:, None] * self.basis) + self.cost
        radius = self.basis @ np.linalg.solve(normal_matrix, self.basis.T @ (weight * radius))
        return centre + radius[:, None] * self.directions

    def normals(self, at: np.ndarray) -> np.ndarray:
        """Unit normals."""
        return normals_of(Surface(at, self.faces))

    def to_prediction(self, centre: np.ndarray, shell: Sampler, radius: float = 400.0, rounds: int = 8) -> np.ndarray:
        """Vertices in the middle of a prediction."""
        at, reach = centre + radius * self.directions, 240.0
        for _ in range(rounds):
            distance = np.arange(-reach, reach + 1, 10.0)
            value = np.nan_to_num(shell(along_normals(at, self.normals(at), distance)))
            weight = np.where(value > 0.3, value, 0) * np.exp(-0.5 * (distance / (reach / 2)) ** 2)
            total = weight.sum(axis=1)
            move = (weight * distance).sum(axis=1) / np.maximum(total, 1e-9)
            trust = np.minimum(total / np.median(total[total > 0]), 1) * (total > 0.5)
            at, reach = self.smooth(centre, at, move, trust), max(80.0, 0.85 * reach)
        return at

    def to_density(self, centres: np.ndarray, every: list[np.ndarray], tomogram: Sampler) -> list[np.ndarray]:
        """Vertices where the density along the normals is most like the mean over all spheres, which stay as large."""
        half, most, step = 140.0, 40.0, 4.0
        shifts, size = np.arange(-most, most + 1, step), round(2 * half / step) + 1
        distance = np.arange(-half - most, half + most + 1, step)
        profiles = []
        for at in every:
            found = np.nan_to_num(tomogram(along_normals(at, self.normals(at), distance)))
            for _ in range(20):
                found = 0.5 * (found + self.mean @ found)
            profiles.append(np.lib.stride_tricks.sliding_window_view(found, size, axis=1))
        middle = len(shifts) // 2
        typical = np.mean(np.concatenate([p[:, middle] for p in profiles]), axis=0)
        found = [_shift(p - p.mean(axis=2, keepdims=True), typical - typical.mean(), shifts) for p in profiles]
        shift, weight = (np.concatenate([one[k] for one in found]) for k in (0, 1))
        drift = np.average(shift, weights=weight)
        moved = zip(centres, every, found, strict=True)
        return [self.smooth(centre, at, one - drift, trust) for centre, at, (one, trust) in moved]


def _shift(windows: np.ndarray, typical: np.ndarray, shifts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Shifts of profiles against the typical one, and weights: 0 where the best is the first or the last."""
    product = windows @ typical
    product /= np.median(product.max(axis=1))
    best = product.argmax(axis=1)
    inner, rows = np.clip(best, 1, len(shifts) - 2), np.arange(len(best))
    before, here, after = (product[rows, inner + k] for k in (-1, 0, 1))
    bend = before - 2 * here + after
    part = np.where(bend < 0, 0.5 * (before - after) / np.where(bend < 0, bend, 1), 0)
    return shifts[inner] + part * (shifts[1] - shifts[0]), np.clip(here, 0, 1) * (best == inner)


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
    shell, centres = open_volume(str(folder / "seg" / "hiv__shell.ome.zarr")), read_picks(core)
    shells = Shells()
    predicted = [shells.to_prediction(place, Sampler(shell, "linear")) for place in centres.place]
    tomogram = Sampler(open_volume(str(folder / "hiv.mrc")), "cubic")
    refined = shells.to_density(centres.place, predicted, tomogram)
    facts = SurfaceFacts("hiv", "shell", shell.voxel_size, shell.origin, shell.shape)
    annotated = np.flatnonzero(KDTree(truth.centres).query(centres.position_vox)[0] < 4) + 1
    print(f"{len(centres)} spheres, {len(annotated)} of them around the {len(truth.centres)} annotated particles")
    print("| points | number | recall | precision | one to one: precision, recall | angle: median, 95 % |")
    print("| --- | ---: | ---: | ---: | ---: | ---: |")
    counts = {}
    for name, every in (("prediction", predicted), ("density", refined)):
        write_surfaces(folder / f"{name}.surfaces", [(Surface(at, shells.faces), {}) for at in every], facts)
        for spacing in (7.0, 5.0, 3.5, 2.5):
            recipe = {"spacing_nm": spacing, "overwrite": True}
            found = sample_surfaces(folder / f"{name}.surfaces", folder / "seeds.star", recipe).picks
            found = found[np.isin(found.extra["surface"], annotated)]
            counts[spacing] = len(found)
            print(against_lattice(f"{spacing} nm on spheres of the {name}", found, sample.positions, sample.normals))
    near = truth.centres[KDTree(truth.centres).query(centres.position_vox[annotated - 1])[1]]
    prediction = shell.read().astype(float) / (255 if shell.dtype == "uint8" else 1)
    voxels = np.argwhere(prediction > 0.5)
    voxels = voxels[KDTree(near).query(voxels)[0] < 20]
    rng = np.random.default_rng(0)
    for spacing in (5.0, 3.5):
        at = voxels[rng.integers(0, len(voxels), counts[spacing])] + rng.uniform(-0.5, 0.5, (counts[spacing], 3))
        found = Picks(at, shell.voxel_size)
        print(against_lattice("random, in voxels of the prediction", found, sample.positions, sample.normals))
    for spacing in ("5", "10"):
        table, options = str(folder / "watershed.star"), ("--spacing-nm", spacing, "--overwrite")
        volengine("pick", str(folder / "seg" / "hiv__shell.ome.zarr"), "--out", table, *options)
        found = read_picks(table)
        found = found[KDTree(near).query(found.position_vox)[0] < 20]
        print(against_lattice(f"watershed, {spacing} nm", found, sample.positions, sample.normals))


def against_lattice(name: str, found: Picks, positions: np.ndarray, normals: np.ndarray) -> str:
    """A row of the table."""
    known, nearest = KDTree(found.position_vox).query(positions)
    near = known < STEP_VOX / 2
    there = KDTree(positions).query(found.position_vox)[0] < STEP_VOX / 2
    pairs = pair_picks(found.position_vox, positions, STEP_VOX / 2)
    shown = "-"
    if found.normal is not None and near.any():
        cosine = (found.normal[nearest] * normals).sum(axis=1)[near]
        angle = np.degrees(np.arccos(np.clip(cosine, -1, 1)))
        shown = f"{np.median(angle):.1f}, {np.percentile(angle, 95):.1f}"
    return (
        f"| {name} | {len(found)} | {near.mean():.2f} | {there.mean():.2f} | {pairs.precision:.2f}, "
        f"{pairs.recall:.2f} | {shown} |"
    )


def compared(found: Picks, known: Picks) -> str:
    """Columns of the table."""
    pairs = pair_picks(found.position_vox, known.position_vox, 4.0)
    if not len(pairs.pairs):
        return f"{len(found)} | 0 | 0 | - | - | -"
    ours, theirs = pairs.pairs.T
    axis = turn = "-"
    if found.euler is not None and known.euler is not None:
        one, other = euler_to_matrix(found.euler)[ours], euler_to_matrix(known.euler)[theirs]
        cosine = (one[:, :, 2] * other[:, :, 2]).sum(axis=1)
        axis = f"{np.median(np.degrees(np.arccos(np.clip(cosine, -1, 1)))):.1f}"
        there = found.extra.get("in_plane_known", np.zeros(len(found)))[ours] == 1
        if there.any() and found.normal is not None:
            error = (found.euler[ours, 0] - turns_on(found.normal[ours], other) + 180) % 360 - 180
            turn = f"{np.median(np.abs(error[there])):.1f} ({there.mean():.2f})"
    error = pairs.localisation_error_vox
    return f"{len(found)} | {pairs.precision:.2f} | {pairs.recall:.2f} | {error:.2f} | {axis} | {turn}"


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
    trained = train_on_surfaces([folder / f"{one}.surfaces" for one in sets], model, recipe, say=print)
    print("\n".join((trained.text, *trained.notes)))
    segmenter = str(folder / "watershed.safetensors")
    if watershed:
        given = ("--volume", ",".join(tomograms), "--points", ",".join(tables), "--radius-nm", "4")
        volengine("train", *given, "--features", "receptor", "--epochs", "5", "--out", segmenter)
    print("| case | method | picks | precision | recall | error, voxels | angle of axes, degrees | about them |")
    print("| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: |")
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
