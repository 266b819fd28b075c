"""``volengine``: the command. Verbs are loaded when they are called, so that ``--help`` is quick."""

from __future__ import annotations

import importlib
import os
import sys
import traceback

import click

from volengine import __version__
from volengine.cli.command import Group
from volengine.cli.messages import Asked
from volengine.cli.signals import take_signals
from volengine.core.aside import os_message
from volengine.core.errors import VolengineError, os_advice

VERBS = {
    "convert": "MRC, TIFF and others to OME-Zarr with a pyramid.",
    "filter": "Deconvolution, other voxel sizes, spectra, smoothing of tomograms.",
    "simulate": "Specimens, tilt series and tomograms with perfect truth.",
    "annotate": "Labels, training boxes and points drawn by several people: versions, undo, training data.",
    "train": "Train a network on volumes and labels.",
    "segment": "Apply networks: one prediction per feature.",
    "denoise": "Tomograms or their halves through a network trained on half sets.",
    "interact": "Competition and interactions between predictions.",
    "pick": "Particles from a prediction: STAR file and labels.",
    "picks": "Tables of picks: convert, merge, filter, measure, describe; subvolumes at picks.",
    "curate": "What people say of picks: accepted, rejected, tagged, moved, added; undone, written.",
    "surface": "Surfaces of a prediction or of labels: triangle meshes, areas, volumes.",
    "surfaces": "Sets of surfaces: measures, points and profiles on them, particles picked on them.",
    "skeleton": "Membranes to mid-surfaces, filaments to lines.",
    "score": "A prediction or picks against what is known.",
    "stats": "Counts, densities, distances and clusters of particles.",
    "run": "A whole recipe: convert, filter, segment, interact, pick.",
    "sweep": "Try many settings of rules and picks, and compare what they find.",
    "collection": "The manifest of many tomograms: parameters of each, what became of them.",
    "status": "How far a run is.",
    "verify": "What is missing, damaged or foreign in runs and stores; repair.",
    "cluster": "What --cluster starts, and whether its workers can be used.",
    "models": "Networks there are, their size and reach; model files: their facts, from and to other programs.",
    "info": "What a file, store or model holds.",
    "env": "What a bug report needs: versions, processor, memory, GPUs.",
    "export": "OME-Zarr back to MRC, or to OME-TIFF.",
    "crop": "A part of a volume as a volume of its own.",
    "picture": "Slices of a volume with predictions, labels, picks and surfaces: PNG, SVG.",
    "report": "Pages of what a run has found: slices, histograms, numbers, times.",
    "view": "Volumes, predictions, labels, picks and surfaces in a browser.",
    "workbench": "A project in a browser: gallery, annotations.",
    "movie": "The slices of a volume one after the other, with the same: GIF, WebP, MP4.",
    "demo": "A real tomogram, then a simulated one, to picks, scores and reports.",
}

SECTIONS = {
    "From tomogram to picks": (
        *("convert", "filter", "denoise", "segment", "interact"),
        *("pick", "run", "sweep", "collection", "export", "crop"),
    ),
    "Networks and data for them": ("annotate", "train", "models", "simulate"),
    "Results": ("picks", "curate", "surface", "surfaces", "skeleton", "score", "stats"),
    "Look and check": (
        *("info", "view", "workbench", "report", "picture", "movie"),
        *("status", "verify", "cluster", "env", "demo"),
    ),
}
"""The verbs as the help of the program lists them."""


class Verbs(Group):
    """A group whose commands live in modules of the same name."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(VERBS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if name not in VERBS:
            return None
        command: click.Command = importlib.import_module(f"volengine.cli.{name}").command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the verbs in sections; verbs that no section names stand in the last one."""
        named = {verb for verbs in SECTIONS.values() for verb in verbs}
        last = list(SECTIONS)[-1]
        for title, verbs in SECTIONS.items():
            more = [verb for verb in VERBS if verb not in named] if title == last else []
            with formatter.section(title):
                formatter.write_dl([(verb, VERBS[verb]) for verb in (*verbs, *more)], col_max=12)


@click.group(
    cls=Verbs,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
    examples=("volengine demo", "volengine convert TS_01.mrc --out TS_01.ome.zarr", "volengine segment --help"),
)
@click.version_option(__version__, prog_name="volengine")
def cli() -> None:
    """Chunked volumes at cluster scale: from cryo-electron tomograms to segmentations and particle picks.

    Every verb can be stopped and called again: what is done is not done twice.
    """


def main() -> None:
    """Run the command line; errors that volengine raises on purpose are printed as one message.

    SIGTERM of a batch system has the same effect as Ctrl-C: workers are stopped, and the same command continues later.
    """
    take_signals()
    # Large pages for PyTorch's feature maps, set before it allocates the first one: a tenth of a network's time. This
    # process is ours; in a program that imports the package its author decides.
    os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")
    asked = Asked()
    try:
        status = cli(standalone_mode=False, obj=asked)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except (click.Abort, KeyboardInterrupt) as stop:
        chain = [e for e in (stop, stop.__cause__) if e is not None]
        notes = [note for error in chain for note in getattr(error, "__notes__", ())]
        click.echo(" ".join(["Stopped.", *notes]), err=True)
        sys.exit(143 if "terminated" in map(str, chain) else 130)
    except VolengineError as error:
        if asked.verbose:
            traceback.print_exception(error)
        click.echo(f"Error: {error}", err=True)
        sys.exit(error.exit_code)
    except OSError as error:  # for example a full disk, or a folder without write permission
        advice = "" if os_advice(error) else " What was finished is kept; the same command goes on from there."
        click.echo(f"Error: {os_message(error)}{advice}", err=True)
        sys.exit(1)
    sys.exit(status if isinstance(status, int) else 0)


if __name__ == "__main__":
    main()
