"""The small records of a plan's folder that follow from its plan: whether they are whole, and writing them again.

``identities.json`` and ``units.json`` tell what is wanted and how much that is, ``images.json`` how the images were
created, ``cleaned`` of which stages nothing is kept. A run survives the loss of any of them, but pays for it: the
census does not know how far a volume is, or images are made anew.
"""

from __future__ import annotations

from typing import Any

from volengine.core.errors import FormatError
from volengine.engine.agreement import CURRENT
from volengine.engine.ledger import PlanFolder
from volengine.engine.options import RunOptions
from volengine.engine.outputs import CLEANED, IMAGES, UNITS, Outputs
from volengine.engine.plan import Plan
from volengine.engine.problems import Problem, missing

WRONG = "is damaged, or is that of another plan"


def damages(plan: Plan, folder: PlanFolder) -> list[Problem]:
    """Return the records that are missing, or not those of a finished plan."""
    found = []
    for name, wanted in _wanted(plan, _outputs(plan, folder)).items():
        place, known = str(folder.path / name), _read(folder, name)
        if known is None:
            found.append(missing(place))
        elif not isinstance(known, dict) or any(known.get(key) != value for key, value in wanted.items()):
            found.append(Problem(place, "damaged", WRONG))
    if _is_torn(plan, folder):
        found.append(Problem(str(folder.path / CLEANED), "damaged", "is damaged: it names no stages of this plan"))
    return found


def mend(plan: Plan, folder: PlanFolder) -> None:
    """Write the records again that :func:`damages` finds in the folder of a plan; the caller holds the run's lock."""
    outputs = _outputs(plan, folder)
    for name, wanted in _wanted(plan, outputs).items():
        known = _read(folder, name)
        whole = isinstance(known, dict) and all(known.get(key) == value for key, value in wanted.items())
        # An image that is not as the plan describes it is another one, and is made anew.
        if not whole and (name != IMAGES or not outputs.lost_images()):
            folder.write_json(name, wanted)
    if _is_torn(plan, folder):
        (folder.path / CLEANED).write_bytes(b"")


def _outputs(plan: Plan, folder: PlanFolder) -> Outputs:
    """The outputs of a plan, with the folder by the path by which its run has known it, if that is another one of it.

    Images are recorded by paths that begin at the folder.
    """
    before = folder.home()
    if before and folder.moved_from() == "":
        folder = PlanFolder(before)
    return Outputs(plan, folder, RunOptions())


def _wanted(plan: Plan, outputs: Outputs) -> dict[str, dict[str, Any]]:
    """What each record must hold."""
    return {
        CURRENT: dict(plan.identities),
        UNITS: {stage.name: len(stage.tiling) for stage in plan.stages},
        IMAGES: outputs.digests,
    }


def _read(folder: PlanFolder, name: str) -> Any:
    """A record; ``False`` if it is damaged, ``None`` if it is not there."""
    try:
        return folder.read_json(name)
    except (FormatError, OSError):
        return False


def _is_torn(plan: Plan, folder: PlanFolder) -> bool:
    """Whether the list of stages of which nothing is kept names others than those of the plan."""
    try:
        text = (folder.path / CLEANED).read_text(errors="replace")
    except FileNotFoundError:
        return False
    return not set(text.split("\n")) - {""} <= {stage.name for stage in plan.stages}
