"""Models to and from other programs: ``volengine models export`` and ``import``.

>>> from volengine.tasks.models.exchange import export_model, import_group, import_model
>>> from volengine.tasks.models.recipe import ModelExportRecipe
>>> export_model("membrane.safetensors", "membrane.onnx").notes                                      # doctest: +SKIP
>>> export_model("membrane.safetensors", "membrane.bioimage.zip",
...              ModelExportRecipe(authors=("A. Author",), licence="CC-BY-4.0"))                     # doctest: +SKIP
>>> import_group("cell.scnmgroup", "cell").recipe                                                    # doctest: +SKIP
PosixPath('cell/recipe.yaml')

A file appears when it is complete; if an export fails, no file is left. The formats are described in
:mod:`volengine.nets.formats.foreign`, :mod:`volengine.nets.formats.onnx.write`,
:mod:`volengine.nets.formats.bioimage_write` and :mod:`volengine.nets.formats.keras.scnm_write`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from volengine.core.atomic import replacing
from volengine.core.errors import InputError
from volengine.core.model import ModelFacts
from volengine.core.paths import PathLike, path_text
from volengine.io.shared_models import model_path
from volengine.tasks.models.recipe import ModelExportRecipe, ModelImportRecipe

if TYPE_CHECKING:
    from torch import nn

    from volengine.core.rules import Rule

RECIPE = "recipe.yaml"
UNSAFE = re.compile(r"[^A-Za-z0-9.+-]+")
"""Characters of a feature's name that are not kept in the name of its model file."""


@dataclass(frozen=True)
class Exported:
    """The written file, and notes for its user."""

    path: Path
    facts: ModelFacts
    notes: tuple[str, ...]


def export_model(path: PathLike, out: PathLike, recipe: ModelExportRecipe | None = None) -> Exported:
    """Write a model in the format of another program.

    Parameters
    ----------
    path
        The model: ``.safetensors``, ``.onnx``, ``.scnm`` or ``.ckpt``.
    out
        The file to write; an existing file is replaced.
    recipe
        The format, and facts that the format needs.

    Raises
    ------
    MissingError, FormatError, InputError
        The model cannot be read, the format cannot express one of its facts or layers, or the other program would
        compute different predictions.
    DependencyError
        An extra is not installed.
    """
    from volengine.nets.checkpoint import load_model

    path, out, recipe = model_path(path_text(path)), path_text(out), recipe or ModelExportRecipe()
    form = recipe.format_of(out)
    if Path(path).absolute() == Path(out).absolute():
        raise InputError(f"{out} is the model itself; give another name.")
    module, facts = load_model(path, network=recipe.network_file)
    said: tuple[str, ...] = ()
    if recipe.normalisation not in (None, facts.normalisation):
        said = (f"It was trained with the normalisation {facts.normalisation}; {out} says {recipe.normalisation}.",)
        facts = ModelFacts.from_json({**facts.to_json(), "normalisation": recipe.normalisation})
    with replacing(out) as file:
        try:
            content, notes = _content(form, module, facts, recipe)
        except InputError as error:
            raise type(error)(f"{path} as {form}: {error}") from error
        file.write(content)
    return Exported(Path(out), facts, said + notes)


def _content(
    form: str, module: nn.Module, facts: ModelFacts, recipe: ModelExportRecipe
) -> tuple[bytes, tuple[str, ...]]:
    if form == "onnx":
        from volengine.nets.formats.onnx.words import OPSET
        from volengine.nets.formats.onnx.write import onnx_bytes

        content, difference = onnx_bytes(module, facts)
        if facts.network == "onnx":
            return content, ("The network is the one of the ONNX file, as it was.",)
        return content, (
            f"Opset {OPSET}. onnxruntime's answers differ from PyTorch's by {difference:.1e} of the largest.",
        )
    if form == "bioimage":
        from volengine.nets.formats.bioimage_write import Card, bioimage_bytes

        return bioimage_bytes(
            module, facts, Card(recipe.title or "", recipe.description or "", recipe.authors, recipe.licence or "")
        )
    from volengine.nets.formats.keras.scnm_write import scnm_bytes

    return _scnm(scnm_bytes, module, facts, recipe.feature or ""), ()


def _scnm(write: Any, module: nn.Module, facts: ModelFacts, feature: str) -> bytes:
    if facts.network == "onnx":
        raise InputError("an ONNX file's layers cannot be turned into Keras's; export the model that it was made from.")
    content: bytes = write(module, facts, feature)
    return content


def import_model(path: PathLike, out: PathLike, recipe: ModelImportRecipe | None = None) -> ModelFacts:
    """Write a model of another program as a file that contains its facts.

    Parameters
    ----------
    path
        The model: ``.scnm``, ``.ckpt``, ``.h5``, ``.keras`` or ``.onnx``; or a package of the BioImage Model Zoo
        (``.zip``) that has its weights as ONNX.
    out
        The file to write: ``.safetensors``; for an ONNX file or a package, whose weights are copied, ``.onnx``.
    recipe
        Facts that the file does not state.

    Returns
    -------
    ModelFacts
        The facts of the written model.

    Raises
    ------
    MissingError, FormatError, InputError
        The model cannot be read, or a fact is missing or does not fit.
    DependencyError
        An extra is not installed.
    """
    from volengine.nets.formats import foreign

    path, out, recipe = model_path(path_text(path)), path_text(out), recipe or ModelImportRecipe()
    if Path(path).suffix.lower() == ".zip":
        return _import_package(path, out, recipe)
    told: dict[str, Any] = {
        "voxel_size": recipe.voxel_size,
        "features": recipe.features,
        "patch": recipe.patch or (),
        "normalisation": recipe.normalisation or "",
    }
    if Path(path).suffix.lower() != ".onnx":
        if recipe.activation:
            raise InputError(f"--activation is for ONNX files; {path} says it itself.")
        return foreign.import_model(
            path, out, axes=recipe.axes or "zyx", architecture=recipe.architecture or "", **told
        )
    if recipe.architecture:
        raise InputError(f"--architecture is for easymode's files of weights (.h5); {path} says its layers itself.")
    from volengine.nets.formats.onnx.told import Told, with_told_facts

    if Path(out).suffix.lower() != ".onnx":
        raise InputError(f"{out}: an ONNX file stays one, which onnxruntime computes; let the name end with .onnx.")
    content, facts = with_told_facts(path, Told(**told, axes=recipe.axes or "", activation=recipe.activation or ""))
    with replacing(out) as file:
        file.write(content)
    return facts


def _import_package(path: str, out: str, recipe: ModelImportRecipe) -> ModelFacts:
    from volengine.nets.formats.bioimage_read import read_package

    package = read_package(path, recipe.axes or "", recipe.normalisation or "", recipe.activation or "")
    told: dict[str, Any] = {k: getattr(package, k) or None for k in ("axes", "normalisation", "activation")}
    with TemporaryDirectory() as folder:
        weights = Path(folder) / f"{Path(path).stem}.onnx"
        weights.write_bytes(package.weights)
        try:
            return import_model(weights, out, replace(recipe, **told))
        except InputError as error:  # its reader knows the file that was unpacked, and the user the package
            raise type(error)(str(error).replace(str(weights), path)) from error


@dataclass(frozen=True)
class Group:
    """An imported group of Ais: its recipe for ``volengine run``, its models by feature, its rules."""

    recipe: Path
    models: dict[str, Path]
    facts: tuple[ModelFacts, ...]
    rules: tuple[Rule, ...]


def import_group(path: PathLike, out: PathLike) -> Group:
    """Write a group of Ais (``.scnmgroup``) as native models and a recipe for ``volengine run``, in a new folder.

    The recipe applies all models of the group as Ais does (``compat: ais``), then the group's rules in their order. Its
    paths are absolute, so it runs from any folder.

    Parameters
    ----------
    path
        The group.
    out
        The folder to make; it may exist if it is empty.

    Raises
    ------
    MissingError, FormatError
        As :func:`volengine.nets.formats.foreign.read_group`.
    InputError
        The folder is not empty, its parent does not exist, or two models would have the same file name.
    """
    import shutil
    import tempfile

    from volengine.nets.checkpoint import save_model
    from volengine.nets.formats.foreign import read_group

    path, out = path_text(path), path_text(out)
    target = Path(out).absolute()
    _check_folder(target, out)
    models, rules = read_group(path)
    names = _file_names([facts.features[0] for _, facts in models], path)
    part = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
    try:
        for (module, facts), name in zip(models, names, strict=True):
            save_model(part / name, module, facts)
        made = {facts.features[0]: target / name for (_, facts), name in zip(models, names, strict=True)}
        (part / RECIPE).write_text(_group_recipe(path, made, [facts for _, facts in models], rules))
        part.chmod(0o755)
        if target.is_dir():
            target.rmdir()
        part.rename(target)
    except BaseException:
        shutil.rmtree(part, ignore_errors=True)
        raise
    return Group(target / RECIPE, made, tuple(facts for _, facts in models), rules)


def _check_folder(target: Path, out: str) -> None:
    if not target.parent.is_dir():
        raise InputError(f"{out}: the folder {target.parent} does not exist; create it first.")
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise InputError(f"{out} is there already; a group is written into a new folder.")


def _file_names(titles: list[str], where: str) -> list[str]:
    names = [UNSAFE.sub("_", title) + ".safetensors" for title in titles]
    double = next((n for n in names if [m.lower() for m in names].count(n.lower()) > 1), None)
    if double is not None:
        raise InputError(f"{where}: two of its models would be written to {double}; rename one of them in Ais.")
    return names


def _group_recipe(path: str, paths: dict[str, Path], models: Sequence[ModelFacts], rules: tuple[Rule, ...]) -> str:
    """The text of a recipe for ``volengine run``, with only the fields that differ from their defaults."""
    import yaml

    from volengine.core.rules import rules_to_json

    segment: dict[str, Any] = {"models": [str(p) for p in paths.values()]}
    if not any(facts.volumetric for facts in models):
        segment["compat"] = "ais"
    views = {facts.tta for facts in models}
    if len(views) == 1 and views not in ({None}, {1}):
        segment["tta"] = views.pop()
    steps: dict[str, Any] = {"segment": segment}
    if rules:
        steps["interact"] = {"compat": "ais", "rules": rules_to_json(rules)}
    head = [
        f"The group {Path(path).name} of Ais: its models, and its rules in its order. What Ais calls parent, the",
        "feature that is masked, is the child here. 'compat: ais' gives Ais's numbers; leave it out for overlapping",
        "patches, and for distances that are not rounded to voxels.",
    ]
    picks = [f"  - {{feature: {json.dumps(f.features[0])}, threshold: {f.threshold or 0.5:g}}}" for f in models]
    foot = ["A group of Ais says nothing of picks; to pick:", "pick:", *picks]
    text = yaml.safe_dump(steps, sort_keys=False, allow_unicode=True)
    return "".join(f"# {line}\n" for line in head) + text + "".join(f"# {line}\n" for line in foot)
