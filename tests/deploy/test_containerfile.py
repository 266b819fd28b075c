"""The container file: read against the project, and built where a builder is; its image runs as manifests run it."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FILE = ROOT / "deploy" / "Containerfile"
TEXT = re.sub(r"\\\n\s*", " ", FILE.read_text())
INSTRUCTIONS = [(line.split()[0], line.split(maxsplit=1)[1]) for line in TEXT.splitlines() if line[:1].isupper()]


def of(kind: str) -> list[str]:
    return [rest for name, rest in INSTRUCTIONS if name == kind]


def test_every_file_that_is_copied_is_there_and_what_the_package_needs_is_copied() -> None:
    copied = [word for rest in of("COPY") for word in rest.split()[:-1]]
    assert all((ROOT / word).exists() for word in copied)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    needed = ["pyproject.toml", "volengine", "constraints.txt", project["readme"], *project["license-files"]]
    assert sorted(copied) == sorted(needed)


def test_versions_and_extras_are_those_of_the_project() -> None:
    installs = [command for rest in of("RUN") for command in rest.split("&&") if "pip install" in command]
    (torch,) = re.findall(r"torch==([\d.]+)", " ".join(installs))
    assert f"torch=={torch}\n" in (ROOT / "constraints.txt").read_text()
    (extras,) = re.findall(r"\.\[([\w,]+)\]", " ".join(installs))
    known = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert set(extras.split(",")) <= set(known)
    assert {"s3", "kubernetes"} <= set(extras.split(",")), "the manifests for S3 and for the operator need them"
    assert all("-c constraints.txt" in command for command in installs if "torch==" not in command)


def test_nobody_is_root_and_nothing_stands_before_the_command() -> None:
    """Manifests give ``command``; a shell in front of it would not pass signals on."""
    assert INSTRUCTIONS[-1] == ("CMD", '["volengine", "--help"]')
    assert of("ENTRYPOINT") == ["[]"]
    assert of("USER") == ["1000:1000"]
    names = [name for name, _ in INSTRUCTIONS]
    assert names.index("USER") > max(k for k, name in enumerate(names) if name == "RUN")
    (base,) = of("FROM")
    assert re.fullmatch(r"docker\.io/library/python:3\.\d+-slim", base), (
        "the name of a registry, for podman and buildah"
    )


# -- built -------------------------------------------------------------------------------------------------

STORE = {"BUILDAH_ISOLATION": "chroot"}  # without the kernel's namespaces, as in CI


def missing() -> str:
    if os.getuid() != 0:
        return "an image is built as root"
    absent = [name for name in ("buildah", "debootstrap", "unshare") if shutil.which(name) is None]
    if absent:
        return f"{', '.join(absent)}: not installed"
    mounts = subprocess.run(["unshare", "--mount", "true"], capture_output=True, check=False).returncode == 0
    return "" if mounts else "nothing can be mounted here"


def run(*words: str | Path, **more: str) -> str:
    done = subprocess.run(
        [str(word) for word in words], env={**os.environ, **STORE, **more}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"{shlex.join(map(str, words))}: {done.stdout[-3000:]}{done.stderr[-3000:]}"
    return done.stdout.strip()


@contextmanager
def store(folder: Path) -> Iterator[list[str]]:
    """A folder of images; yields buildah with its options."""
    buildah = ["buildah", "--root", str(folder / "images"), "--runroot", str(folder / "run")]
    try:
        yield buildah
    finally:
        subprocess.run([*buildah, "umount", "--all"], capture_output=True, check=False)
        subprocess.run([*buildah, "rm", "--all"], capture_output=True, check=False)
        subprocess.run([*buildah, "rmi", "--all", "--force"], capture_output=True, check=False)
        shutil.rmtree(folder, ignore_errors=True)


def base(buildah: list[str], folder: Path) -> None:
    """Debian with Python, named as the container file names its base: images cannot be pulled everywhere."""
    packages = "python3,python3-pip,ca-certificates"
    run("debootstrap", "--variant=minbase", f"--include={packages}", "bookworm", folder / "debian")
    made = run(*buildah, "from", "scratch")
    root = Path(run(*buildah, "mount", made))
    run("cp", "-a", f"{folder / 'debian'}/.", root)
    for marker in root.glob("usr/lib/python3*/EXTERNALLY-MANAGED"):
        marker.unlink()  # the official image's pip installs into its Python, too
    (root / "usr/local/bin/python").symlink_to("/usr/bin/python3")
    run(*buildah, "umount", made)
    path = "PATH=/usr/local/bin:/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin"
    run(*buildah, "config", "--env", path, made)
    run(*buildah, "commit", "--rm", made, "localhost/base")
    shutil.rmtree(folder / "debian")


def pip_here(folder: Path) -> list[str]:
    """Options of the build that let its pip find packages as the one of this machine does."""
    links = [path for path in os.environ.get("PIP_FIND_LINKS", "").split() if Path(path).is_dir()]
    certificates = os.environ.get("PIP_CERT", "/etc/ssl/certs/ca-certificates.crt")
    lines = ["[global]", f"cert = {certificates}", *(f"find-links = {path}" for path in links[:1])]
    (folder / "pip.conf").write_text("\n".join(lines) + "\n")
    options = [f"--volume={folder}/pip.conf:/etc/pip.conf:ro", "--volume=/etc/ssl/certs:/etc/ssl/certs:ro"]
    options += [f"--volume={path}:{path}:ro" for path in links[:1]]
    if any(Path(path).glob("torch-*+cpu*") for path in links[:1]):
        options.append("--build-arg=TORCH_INDEX=https://pypi.org/simple")  # the wheel of the folder is taken before it
    return options


INSIDE = """
set -e
touch /opt/written 2>/dev/null && exit 9
test "$PWD" = /data
python -c 'import getpass, dask_kubernetes.operator, s3fs, zarrs; getpass.getuser()'
volengine --version
cp /tmp/a.mrc /tmp/recipe.yaml .
volengine run recipe.yaml a.mrc --out part --part 1/1 --memory-limit 1GB --no-progress
volengine run recipe.yaml a.mrc --out workers --workers 1 --memory-limit 1GB --no-progress
dask scheduler --version
"""

AROUND = """
root=$1 user=$2 inside=$3; shift 3
mount --bind "$root" "$root"; mount -o remount,bind,ro "$root"
mount -t tmpfs -o mode=1777 tmpfs "$root/tmp"; mount -t tmpfs -o mode=777 tmpfs "$root/data"
mount -t proc proc "$root/proc"; mount --rbind /dev "$root/dev"
cp "$inside"/* "$root/tmp"
cd "$root/data"
exec env -i "$@" chroot --userspec="$user" "$root" sh -c 'cd /data; exec sh -x /tmp/inside.sh'
"""


@pytest.mark.slow
@pytest.mark.timeout(2400)
@pytest.mark.skipif(bool(missing()), reason=missing() or "an image can be built")
def test_the_image_is_built_and_runs_as_anybody_with_a_root_that_is_read_only(tmp_path: Path) -> None:
    import numpy as np

    from volengine.io.mrc.write import write_mrc

    inside = tmp_path / "inside"
    inside.mkdir()
    array = np.random.default_rng(0).normal(size=(32, 64, 64)).astype("float32")
    write_mrc(inside / "a.mrc", [array], array.shape, "float32", (10.0, 10.0, 10.0))
    (inside / "recipe.yaml").write_text("convert: {chunk: [16, 32, 32], shard: [16, 32, 32]}\n")
    (inside / "inside.sh").write_text(INSIDE)
    with store(tmp_path / "store") as buildah:
        (tmp_path / "store").mkdir()
        base(buildah, tmp_path / "store")
        options = ["--isolation=chroot", "--from=localhost/base", *pip_here(tmp_path)]
        run(*buildah, "bud", *options, "-f", FILE, "-t", "localhost/volengine", ROOT)
        made = run(*buildah, "from", "localhost/volengine")
        facts = json.loads(run(*buildah, "inspect", made))["OCIv1"]["config"]
        assert facts["User"] == "1000:1000"
        assert facts["WorkingDir"] == "/data"
        assert not facts.get("Entrypoint")
        root = run(*buildah, "mount", made)
        for user in ("1000:1000", "12345:0"):  # the second is what OpenShift does
            around = ["unshare", "--mount", "sh", "-ec", AROUND, "-", root, user, str(inside)]
            said = run(*around, *facts["Env"])
            assert said.count("a: done (1 of 1 units run") == 2, said


AFTER = """
python -c 'import getpass, dask_kubernetes.operator, s3fs, zarrs; getpass.getuser()'
volengine --version
volengine run recipe.yaml a.mrc --out part --part 1/1 --memory-limit 1GB --no-progress
dask scheduler --version
"""


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.skipif(not os.environ.get("FRESH"), reason="FRESH=1 runs the lines of the file in a fresh environment")
def test_every_line_that_installs_works_in_a_fresh_environment(tmp_path: Path) -> None:
    """Where no image can be built: what RUN says of pip, with the files that COPY names and nothing else.

    What RUN says of users and folders of the system is not done to this machine; those commands are looked for.
    """
    import numpy as np

    from volengine.io.mrc.write import write_mrc

    place, fresh = tmp_path / "opt", tmp_path / "venv"
    place.mkdir()
    for words in (rest.split()[:-1] for rest in of("COPY")):
        run("cp", "-r", *(ROOT / word for word in words), place)
    run(sys.executable, "-m", "venv", fresh)
    around = {"PATH": f"{fresh}/bin:{os.environ['PATH']}", "PYTHONPATH": ""}
    links = [path for path in os.environ.get("PIP_FIND_LINKS", "").split() if Path(path).is_dir()]
    own = any(Path(path).glob("torch-*+cpu*") for path in links)
    (index,) = (rest.partition("=")[2] for rest in of("ARG") if rest.startswith("TORCH_INDEX"))
    around["TORCH_INDEX"] = "https://pypi.org/simple" if own else index
    for command in (part.strip() for rest in of("RUN") for part in rest.split("&&")):
        if command.startswith("pip "):
            run("sh", "-ec", f"cd {shlex.quote(str(place))}; {command}", **around)
        else:
            assert command.split()[0] in ("useradd", "mkdir", "chown"), f"who checks {command!r}?"
    (facts,) = of("ENV")
    around |= dict(word.split("=", 1) for word in shlex.split(facts)) | {"HOME": str(tmp_path)}
    array = np.random.default_rng(0).normal(size=(32, 64, 64)).astype("float32")
    write_mrc(tmp_path / "a.mrc", [array], array.shape, "float32", (10.0, 10.0, 10.0))
    (tmp_path / "recipe.yaml").write_text("convert: {chunk: [16, 32, 32], shard: [16, 32, 32]}\n")
    said = run("sh", "-exc", f"cd {shlex.quote(str(tmp_path))}{AFTER}", **around)
    assert "a: done (1 of 1 units run" in said
