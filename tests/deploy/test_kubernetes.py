"""The manifests for Kubernetes, read like code: schemas, names, ports, exit codes; and their commands, run."""

from __future__ import annotations

import re
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import click
import pytest
import yaml
from kubernetes_manifests import FOLDER, Object, action, amount, container, objects, option, pods, variables, words

from volengine.cli.main import cli
from volengine.core import errors
from volengine.core.units import parse_bytes
from volengine.engine.cluster_recipe import read_cluster
from volengine.engine.pods import CLUSTER, manifest_of
from volengine.engine.workers import CORES

ROOT = Path(__file__).parents[2]
FILES = sorted(FOLDER.rglob("*.yaml"))
RECIPE = FOLDER / "operator" / "cluster.yaml"  # volengine's own, no manifest
MANIFESTS = [path for path in FILES if path != RECIPE]
TOGETHER = {
    "array.yaml": ["namespace.yaml"],
    "array-gpu.yaml": ["namespace.yaml"],
    "array-s3.yaml": ["namespace.yaml"],
    "dask.yaml": ["namespace.yaml"],
    "dask-gpu.yaml": ["namespace.yaml", "dask.yaml"],
    "operator/run.yaml": ["namespace.yaml", "operator/dask-cluster.yaml"],
    "operator/dask-cluster.yaml": ["namespace.yaml"],
}
"""What is applied together, as the heads of the files say."""

PAGES = {name: (ROOT / "docs" / name).read_text() for name in ("how-to-cluster.md", "how-to-run.md")}
VERSIONS = ("1.31", "1.32", "1.33", "1.34", "1.37")


def all_pods() -> Iterator[Any]:
    for path in MANIFESTS:
        for item in objects(path):
            for labels, pod in pods(item):
                name = f"{path.relative_to(FOLDER)}: {item['metadata']['name']} {labels['part']}"
                yield pytest.param(item, labels, pod, id=name)


EACH = pytest.mark.parametrize(("item", "labels", "pod"), list(all_pods()))


# -- schemas -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("path", MANIFESTS, ids=lambda path: path.name)
def test_kubernetes_takes_each_object_and_knows_each_field(path: Path, version: str) -> None:
    kubernetes_validate = pytest.importorskip("kubernetes_validate")
    found = [item for item in objects(path) if item["kind"] != "DaskCluster"]
    for item in found:
        assert kubernetes_validate.validate(item, version, strict=True) == version


def test_a_field_that_kubernetes_does_not_know_is_found() -> None:
    kubernetes_validate = pytest.importorskip("kubernetes_validate")
    (job,) = objects(FOLDER / "array.yaml")
    job["spec"]["template"]["spec"]["containers"][0]["imagePullPolicies"] = "Never"
    with pytest.raises(kubernetes_validate.ValidationError, match="imagePullPolicies"):
        kubernetes_validate.validate(job, VERSIONS[-1], strict=True)


def test_the_pods_of_the_operator_are_pods() -> None:
    kubernetes_validate = pytest.importorskip("kubernetes_validate")
    (cluster,) = objects(FOLDER / "operator" / "dask-cluster.yaml")
    for labels, pod in pods(cluster):
        item = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "x", "labels": labels}, "spec": pod}
        for version in VERSIONS:
            kubernetes_validate.validate(item, version, strict=True)
    service = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "x"}}
    kubernetes_validate.validate(
        {**service, "spec": cluster["spec"]["scheduler"]["service"]}, VERSIONS[-1], strict=True
    )


def test_the_operator_takes_its_cluster() -> None:
    """By the definition that the operator installs, which is in its package, with no field that it would drop."""
    jsonschema = pytest.importorskip("jsonschema")
    found = find_spec("dask_kubernetes")  # its import needs more packages than its files
    if found is None or found.origin is None:
        pytest.skip("dask-kubernetes is not installed")
    crds = Path(found.origin).parent / "operator/deployment/helm/dask-kubernetes-operator/crds"
    definition = yaml.safe_load((crds / "daskcluster.yaml").read_text())
    (version,) = [v for v in definition["spec"]["versions"] if v["name"] == "v1"]
    for item in (*objects(FOLDER / "operator" / "dask-cluster.yaml"), written()):
        schema = _strict(version["schema"]["openAPIV3Schema"])
        schema["properties"] |= {"apiVersion": {}, "kind": {}, "metadata": {}}  # which the API server knows
        wrong = [f"{e.json_path}: {e.message[:300]}" for e in jsonschema.Draft202012Validator(schema).iter_errors(item)]
        assert wrong == []


def _strict(schema: Any) -> Any:
    """A schema that takes no other property than those it names, and Kubernetes' numbers-or-texts."""
    if isinstance(schema, list):
        return [_strict(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    made = {key: _strict(value) for key, value in schema.items() if key != "default"}
    if schema.get("x-kubernetes-int-or-string"):
        return {"type": ["integer", "string"]}
    if "properties" in schema and schema.get("type") == "object" and "additionalProperties" not in schema:
        made["additionalProperties"] = bool(schema.get("x-kubernetes-preserve-unknown-fields"))
    return made


# -- names and ports ---------------------------------------------------------------------------------------


@EACH
def test_every_volume_is_defined_and_used(item: Object, labels: dict[str, str], pod: Object) -> None:
    mounts = container(pod)["volumeMounts"]
    assert {mount["name"] for mount in mounts} == {volume["name"] for volume in pod["volumes"]}
    assert len({mount["mountPath"] for mount in mounts}) == len(mounts)


@pytest.mark.parametrize("name", TOGETHER)
def test_claims_secrets_and_accounts_are_there_or_are_made_by_the_head_of_the_file(name: str) -> None:
    paths = [FOLDER / other for other in (*TOGETHER[name], name)]
    known = objects(*paths)
    made = {(item["kind"], item["metadata"]["name"]) for item in known}
    heads = "".join(re.match(r"(#.*\n)*", path.read_text())[0] for path in paths)
    spaces = {item["metadata"].get("namespace") for item in known if item["kind"] != "Namespace"}
    assert spaces == {item["metadata"]["name"] for item in known if item["kind"] == "Namespace"}
    for item in known:
        for _, pod in pods(item):
            for volume in pod["volumes"]:
                if "persistentVolumeClaim" in volume:
                    assert ("PersistentVolumeClaim", volume["persistentVolumeClaim"]["claimName"]) in made
                if "secret" in volume:
                    assert re.search(rf"secret generic {volume['secret']['secretName']} -n volengine", heads)
                if "configMap" in volume:
                    assert re.search(rf"configmap {volume['configMap']['name']} -n volengine", heads)
            for source in container(pod).get("envFrom", []):
                assert re.search(rf"secret generic {source['secretRef']['name']} -n volengine", heads)
            if "serviceAccountName" in pod:
                assert ("ServiceAccount", pod["serviceAccountName"]) in made
        if item["kind"] == "RoleBinding":
            assert (item["roleRef"]["kind"], item["roleRef"]["name"]) in made
            assert {(one["kind"], one["name"]) for one in item["subjects"]} <= made


@EACH
def test_every_file_that_a_command_names_is_in_a_mounted_secret_or_map(
    item: Object, labels: dict[str, str], pod: Object
) -> None:
    box = container(pod)
    texts = {path: re.match(r"(#.*\n)*", path.read_text())[0] for path in MANIFESTS}
    for word in words(box):
        for place in re.findall(r"^/(tls|cluster)/([\w.-]+)$", word):
            (volume,) = [v for v in pod["volumes"] if v["name"] == place[0]]
            assert any(m["mountPath"] == f"/{place[0]}" for m in box["volumeMounts"]), volume
            assert any(f"--from-file={place[1]}" in text for text in texts.values()), place
    assert box.get("workingDir", "/data") == "/data"


@pytest.mark.parametrize("name", TOGETHER)
def test_selectors_choose_the_pods_that_are_meant_and_ports_are_open(name: str) -> None:
    known = objects(*(FOLDER / other for other in (*TOGETHER[name], name)))
    running = [(labels, container(pod)) for item in known for labels, pod in pods(item)]

    def chosen(selector: Object) -> list[Object]:
        return [box for labels, box in running if selector.items() <= labels.items()]

    for item in known:
        spec = item.get("spec", {})
        if item["kind"] == "Deployment":
            assert len(chosen(spec["selector"]["matchLabels"])) == 1
            assert spec["selector"]["matchLabels"].items() <= spec["template"]["metadata"]["labels"].items()
        services = [spec] if item["kind"] == "Service" else []
        if item["kind"] == "DaskCluster":
            services = [spec["scheduler"]["service"]]
        for service in services:
            (box,) = chosen(service["selector"])
            open_ports = {port["name"]: port["containerPort"] for port in box["ports"]}
            assert all(open_ports[p["targetPort"]] == p["port"] for p in service["ports"])
            assert option(words(box), "--port") == "8786" == str(open_ports["tcp-comm"])
    for labels, box in running:
        if labels["part"] == "worker":
            command = words(box)
            ports = {port["containerPort"] for port in box["ports"]}
            assert ports == {int(option(command, "--worker-port")), int(option(command, "--nanny-port"))}


def _allowed(policies: list[Object], to: dict[str, str], source: dict[str, str]) -> set[int] | None:
    """Ports of pods with the labels ``to`` that pods with the labels ``source`` reach; ``None``: all."""
    about = [p["spec"] for p in policies if p["spec"]["podSelector"]["matchLabels"].items() <= to.items()]
    if not about:
        return None
    found = set()
    for rule in (rule for spec in about for rule in spec.get("ingress", [])):
        for peer in rule["from"]:
            for_pods = peer.get("podSelector", {}).get("matchExpressions")
            if for_pods and all(source.get(e["key"]) in e["values"] for e in for_pods):
                assert all(e["operator"] == "In" for e in for_pods)
                found |= {port["port"] for port in rule["ports"]}
    return found


@pytest.mark.parametrize("name", ["dask.yaml", "dask-gpu.yaml", "operator/run.yaml"])
def test_the_network_lets_through_what_dask_needs_and_nothing_else(name: str) -> None:
    known = objects(*(FOLDER / other for other in (*TOGETHER[name], name)))
    policies = [item for item in known if item["kind"] == "NetworkPolicy"]
    of = {labels["part"]: labels for item in known for labels, _ in pods(item)}
    assert set(of) == {"scheduler", "worker", "run"}
    stranger = {"app": "something"}
    assert _allowed(policies, of["scheduler"], of["worker"]) == {8786}
    assert _allowed(policies, of["scheduler"], of["run"]) == {8786}
    assert _allowed(policies, of["scheduler"], stranger) == set()
    assert _allowed(policies, of["scheduler"], {"app": "something", "part": "run"}) == set()
    assert _allowed(policies, of["worker"], of["scheduler"]) == {8788, 8789}
    assert _allowed(policies, of["worker"], of["worker"]) == {8788, 8789}
    assert _allowed(policies, of["worker"], of["run"]) == set()
    assert _allowed(policies, of["run"], of["worker"]) == set()


# -- commands ----------------------------------------------------------------------------------------------


def _refused(command: list[str]) -> str | None:
    """What the program says against a command; ``None`` if it takes all of its options."""
    from distributed.cli import dask_scheduler, dask_worker

    programs = {"scheduler": dask_scheduler.main, "worker": dask_worker.main}
    if command[0] == "dask":
        program: click.Command = programs[command[1]]
    else:
        assert command[0] == "volengine"
        program = cli.get_command(click.Context(cli), command[1])  # type: ignore[assignment]
    there = [re.sub(r"^/tls/.*", __file__, word) for word in command[2:]]  # Dask's options want files that exist
    try:
        program.make_context(command[1], there)
    except click.ClickException as error:
        return error.format_message()
    return None


@EACH
def test_every_program_knows_its_options(item: Object, labels: dict[str, str], pod: Object) -> None:
    command = words(container(pod))
    assert _refused(command) is None
    assert _refused([*command, "--no-such-option"]) is not None
    assert {"scheduler": "scheduler", "worker": "worker"}.get(labels["part"], "run") == command[1]


@EACH
def test_nothing_but_tls_is_spoken_but_where_the_operator_cannot(
    item: Object, labels: dict[str, str], pod: Object
) -> None:
    command = words(container(pod))
    of_operator = item["kind"] == "DaskCluster" or "operator" in item["metadata"]["name"]
    if labels["part"] == "array":
        assert not [word for word in command if "://" in word and not word.startswith("s3://")]
        return
    assert ("--insecure" in command) == (of_operator and labels["part"] == "run")
    if not of_operator:
        assert any("tls" in word for word in command)
        assert not any("tcp://" in word for word in command)
        if labels["part"] != "run":
            assert option(command, "--dashboard-address").startswith("127.0.0.1:")


@EACH
def test_limits_fit_each_other(item: Object, labels: dict[str, str], pod: Object) -> None:
    """A unit's memory stays below the pod's, requests below limits, threads are those of the request."""
    box = container(pod)
    resources, command = box["resources"], words(box)
    for name, wanted in resources["requests"].items():
        assert amount(wanted) <= amount(resources["limits"].get(name, wanted))
    assert resources["requests"]["memory"] == resources["limits"]["memory"]
    if "--memory-limit" in command and labels["part"] != "run":
        share = parse_bytes(option(command, "--memory-limit")) / amount(resources["limits"]["memory"])
        assert 0.85 < share <= 0.9
        known = variables(box)
        assert known["OMP_NUM_THREADS"] == resources["requests"]["cpu"]
        assert labels["part"] != "worker" or known[CORES] == resources["requests"]["cpu"]
    for volume in pod["volumes"]:
        if "sizeLimit" in volume.get("emptyDir", {}) and "medium" not in volume["emptyDir"]:
            assert parse_bytes(volume["emptyDir"]["sizeLimit"] + "B") <= 10 * 2**30


def test_the_driver_plans_for_the_smallest_worker() -> None:
    """A driver asks those that have joined; a smaller one that joins later would end the run, and the job with it."""
    known = [
        (labels, words(container(pod)))
        for item in objects(FOLDER / "dask.yaml", FOLDER / "dask-gpu.yaml")
        for labels, pod in pods(item)
    ]
    of = {
        part: [parse_bytes(option(command, "--memory-limit")) for labels, command in known if labels["part"] == part]
        for part in ("worker", "run")
    }
    assert len(of["worker"]) == 2
    assert of["run"] == [min(of["worker"])]


@EACH
def test_gpus_are_asked_for_where_they_are_used(item: Object, labels: dict[str, str], pod: Object) -> None:
    box = container(pod)
    command, limits = words(box), box["resources"]["limits"]
    wants = ("--device" in command and option(command, "--device") == "cuda") or "GPU=1" in command
    assert ("nvidia.com/gpu" in limits) == wants
    assert box["image"].endswith("-cuda") == wants
    assert wants == any(t["key"] == "nvidia.com/gpu" for t in pod.get("tolerations", []))
    if labels["part"] == "worker" and item["kind"] == "Deployment":
        assert option(command, "--resources") == ("GPU=1" if wants else "CPU=1")


@EACH
def test_pods_are_those_of_the_restricted_profile(item: Object, labels: dict[str, str], pod: Object) -> None:
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["runAsUser"] == 1000
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    own = container(pod)["securityContext"]
    assert own["allowPrivilegeEscalation"] is False
    assert own["capabilities"] == {"drop": ["ALL"]}
    assert not {"hostNetwork", "hostPID", "hostIPC"} & set(pod)
    assert all({"emptyDir", "secret", "configMap", "persistentVolumeClaim"} & set(v) for v in pod["volumes"])
    (space,) = [i for i in objects(FOLDER / "namespace.yaml") if i["kind"] == "Namespace"]
    assert space["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"


@EACH
def test_what_is_written_is_on_a_volume(item: Object, labels: dict[str, str], pod: Object) -> None:
    """The root is read-only. HOME of the image, and where Dask keeps its files, are mounted."""
    box = container(pod)
    mounts = {m["mountPath"]: m["name"] for m in box["volumeMounts"]}
    volumes = {v["name"]: v for v in pod["volumes"]}
    assert box["securityContext"]["readOnlyRootFilesystem"] is True
    (home,) = re.findall(r"\bHOME=(\S+)", (ROOT / "deploy" / "Containerfile").read_text())
    assert "emptyDir" in volumes[mounts[home]]
    assert volumes[mounts["/dev/shm"]]["emptyDir"]["medium"] == "Memory"
    command = words(box)
    if "--local-directory" in command:
        assert "emptyDir" in volumes[mounts[option(command, "--local-directory")]]


def test_tokens_are_mounted_for_the_driver_of_the_operator_alone() -> None:
    for path in MANIFESTS:
        for item in objects(path):
            for _, pod in pods(item):
                assert pod["automountServiceAccountToken"] == ("serviceAccountName" in pod)


def test_images_are_those_that_the_pages_build() -> None:
    page = PAGES["how-to-cluster.md"]
    used = {container(pod)["image"] for path in MANIFESTS for item in objects(path) for _, pod in pods(item)}
    built = set(re.findall(r"podman build -f deploy/Containerfile -t (\S+)", page))
    pushed = set(re.findall(r"podman push (\S+)", page))
    assert used == built == pushed
    for path in MANIFESTS:
        for item in objects(path):
            for _, pod in pods(item):
                box = container(pod)
                assert box["imagePullPolicy"] == "IfNotPresent"
                tag = box["image"].rpartition(":")[2]
                assert tag not in ("latest", ""), "each node would have its own idea of it"


# -- exit codes --------------------------------------------------------------------------------------------


def exit_codes() -> set[int]:
    """What volengine ends with on purpose, other than 0."""
    found = {e.exit_code for e in vars(errors).values() if isinstance(e, type) and issubclass(e, errors.VolengineError)}
    return found | {143}  # SIGTERM, as cli.main says


JOBS = [(path, item) for path in MANIFESTS for item in objects(path) if item["kind"] == "Job"]


@pytest.mark.parametrize(("path", "job"), JOBS, ids=lambda value: value.name if isinstance(value, Path) else "")
def test_a_run_with_failed_tomograms_is_not_started_for_ever(path: Path, job: Object) -> None:
    spec = job["spec"]
    rules = spec["podFailurePolicy"]["rules"]
    indexed = spec.get("completionMode") == "Indexed"
    assert exit_codes() == {1, 2, 75, 143}
    assert action(rules, 1) == ("FailIndex" if indexed else "FailJob")
    assert action(rules, 2) == "FailJob"
    assert {action(rules, code) for code in (75, 143, 137, 139, 130)} == {"Count"}
    assert 0 < spec["backoffLimitPerIndex" if indexed else "backoffLimit"] <= 10
    assert rules[0] == {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]}
    # what the API server asks for beyond the schema
    assert spec["template"]["spec"]["restartPolicy"] == "Never"
    assert spec["podReplacementPolicy"] == "Failed"
    names = {container(spec["template"]["spec"])["name"]}
    for rule in rules[1:]:
        assert rule["onExitCodes"]["containerName"] in names
        assert rule["onExitCodes"]["values"] == sorted(set(rule["onExitCodes"]["values"]))
        assert 0 not in rule["onExitCodes"]["values"]
    if indexed:
        assert str(spec["completions"]) == variables(container(spec["template"]["spec"]))["PARTS"]
        assert spec["parallelism"] <= spec["completions"]


def test_what_a_deadline_or_a_signal_ends_is_said_to_go_on() -> None:
    """The page of exit codes and the rules of the jobs say the same of each code."""
    said = dict(re.findall(r"^\| (\d+) \| (.*) \|$", PAGES["how-to-run.md"], re.M))
    assert "goes on" in said["75"]
    assert "143" in said["130"]
    assert {int(code) for code in said} | {143} == exit_codes() | {0, 130}


# -- the operator ------------------------------------------------------------------------------------------


def written() -> Object:
    """The object that ``--cluster cluster.yaml`` creates."""
    recipe = read_cluster(str(RECIPE)).with_(manifest=str(FOLDER / "operator" / "dask-cluster.yaml"))
    return manifest_of(recipe)


def test_the_cluster_that_a_run_creates_is_that_of_the_manifest() -> None:
    recipe = read_cluster(str(RECIPE))
    (cluster,) = objects(FOLDER / "operator" / "dask-cluster.yaml")
    made = written()
    for change in (cluster, made):
        del change["spec"]["worker"]["replicas"]
        change["spec"]["scheduler"]["service"]["selector"][CLUSTER] = change["metadata"]["name"] = "same"
    assert made == cluster
    (worker,) = [container(pod) for labels, pod in pods(cluster) if labels["part"] == "worker"]
    assert recipe.manifest == "/cluster/dask-cluster.yaml"
    assert str(recipe.cores) == worker["resources"]["requests"]["cpu"]
    assert parse_bytes(recipe.memory) == amount(worker["resources"]["limits"]["memory"])
    limit = parse_bytes(option(words(worker), "--memory-limit"))
    assert limit >= recipe.limit(), "workers with less than is planned for are refused"
    assert limit - recipe.limit() < 2


def test_the_driver_may_do_what_dasks_client_does() -> None:
    (role,) = [item for item in objects(FOLDER / "operator" / "run.yaml") if item["kind"] == "Role"]
    may = {(name, verb) for rule in role["rules"] for name in rule["resources"] for verb in rule["verbs"]}
    for name in ("daskclusters", "daskworkergroups", "daskautoscalers"):
        assert {(name, verb) for verb in ("get", "create", "patch", "delete")} <= may
    assert {("pods", "list"), ("pods", "get"), ("services", "get"), ("pods/log", "get")} <= may
    assert not {name for name, _ in may} & {"secrets", "*", "deployments"}
