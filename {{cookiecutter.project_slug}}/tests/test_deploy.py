"""deploy/ builds with kustomize, is what Kubernetes knows, and runs the model that was promoted and nothing else."""

import json
import re
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from gitops import content, kustomization

DEPLOY = Path(__file__).parent.parent / "deploy"
MODEL, IMAGE, OTHER = (f"sha256:{digit * 64}" for digit in "123")
KEY = "1" * 30 + "e1"  # to some readers of YAML a number
MANIFEST = {"model": MODEL, "key": KEY, "image": f"registry.example.org:5000/acme/fraud@{IMAGE}"}
Resources = dict[str, dict[str, Any]]


@pytest.fixture(scope="module")
def base() -> Resources:
    return build(DEPLOY / "base")


def texts() -> dict[str, str]:
    """The files of deploy/base."""
    return {path.name: path.read_text() for path in sorted((DEPLOY / "base").iterdir())}


def build(folder: Path, known: bool = True) -> Resources:
    """What an agent would apply, by kind; each checked by the schemas of Kubernetes, typos too, where it knows them."""
    kubectl = shutil.which("kubectl")
    validate = pytest.importorskip("kubernetes_validate", reason="needs kubernetes-validate")
    if not kubectl:
        pytest.skip("needs kubectl")
    done = subprocess.run([kubectl, "kustomize", folder], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")  # a warning is a field that goes away
    resources = list(yaml.safe_load_all(done.stdout))
    for resource in resources if known else []:
        validate.validate(resource, validate.latest_version(), strict=True)
    return {resource["kind"]: resource for resource in resources}


def promoted(folder: Path, manifest: Mapping[str, Any], base: Mapping[str, str]) -> Resources:
    """What an agent would apply after a promotion; it sees nothing but deploy/production."""
    made = folder / "production"
    made.mkdir(exist_ok=True)
    for name, text in kustomization.files(manifest, base).items():
        (made / name).write_text(text)
    (made / "MODEL_CARD.md").write_text(CARD)
    return build(made)


CARD = "# Model card\n"


def pod(resources: Resources) -> Any:
    return resources["Deployment"]["spec"]["template"]


def test_the_base_is_complete(base: Resources) -> None:
    assert {*base} == {"Deployment", "Service", "PodDisruptionBudget", "NetworkPolicy"}
    (container,) = pod(base)["spec"]["containers"]
    assert container["livenessProbe"]["httpGet"]["path"] == "/livez"
    assert {container[f"{kind}Probe"]["httpGet"]["path"] for kind in ("startup", "readiness")} == {"/readyz"}
    labels = pod(base)["metadata"]["labels"]
    selectors = [base[kind]["spec"]["selector"] for kind in ("Service", "Deployment", "PodDisruptionBudget")]
    selectors.append(base["NetworkPolicy"]["spec"]["podSelector"])
    assert [selector.get("matchLabels", selector) for selector in selectors] == [labels] * 4
    assert base["Service"]["spec"]["ports"][0]["targetPort"] == container["ports"][0]["name"]


def test_a_pod_may_do_little(base: Resources) -> None:
    spec = pod(base)["spec"]
    (container,) = spec["containers"]
    assert spec["securityContext"]["runAsNonRoot"] and not spec["automountServiceAccountToken"]
    allowed = container["securityContext"]
    assert allowed["readOnlyRootFilesystem"] and not allowed["allowPrivilegeEscalation"]
    assert container["resources"]["requests"].keys() == container["resources"]["limits"].keys() == {"cpu", "memory"}


def test_a_pod_is_reached_by_http_alone_and_reaches_dns_and_https_alone(base: Resources) -> None:
    spec = base["NetworkPolicy"]["spec"]
    assert {*spec["policyTypes"]} == {"Ingress", "Egress"}
    assert spec["ingress"] == [
        {"ports": [{"protocol": "TCP", "port": pod(base)["spec"]["containers"][0]["ports"][0]["name"]}]}
    ]
    assert {(each["protocol"], each["port"]) for rule in spec["egress"] for each in rule["ports"]} == {
        *(("UDP", 53), ("TCP", 53), ("TCP", 443))
    }


def test_what_the_service_writes_lies_on_a_volume(base: Resources) -> None:
    spec = pod(base)["spec"]
    (container,) = spec["containers"]
    places = {mount["mountPath"] for mount in container["volumeMounts"]}
    written = [each["value"] for each in container["env"] if each.get("value", "").startswith("/")]
    assert written and all(any(Path(path).is_relative_to(place) for place in places) for path in written)
    assert {mount["name"] for mount in container["volumeMounts"]} == {volume["name"] for volume in spec["volumes"]}


def test_a_pod_leaves_the_service_before_it_is_stopped(base: Resources) -> None:
    spec = pod(base)["spec"]
    command, seconds = spec["containers"][0]["lifecycle"]["preStop"]["exec"]["command"]
    assert command == "sleep" and int(seconds) >= 10
    assert spec["terminationGracePeriodSeconds"] >= int(seconds) + 10


def test_production_runs_the_image_of_its_manifest_or_nothing() -> None:
    resources, manifest = build(DEPLOY / "production"), DEPLOY / "production" / "manifest.json"
    image = json.loads(manifest.read_text())["image"] if manifest.exists() else None
    if image:
        assert [each["image"] for each in pod(resources)["spec"]["containers"]] == [image]
    else:
        assert not resources or resources["Deployment"]["spec"]["replicas"] == 0


@pytest.mark.parametrize("image", [MANIFEST["image"], None])
def test_a_promotion_is_what_kustomize_makes_of_the_base(tmp_path: Path, base: Resources, image: str | None) -> None:
    """With its own means, of an overlay that says the same."""
    name, _, digest = (image or "service").partition("@")
    overlay = {
        "resources": ["../base"],
        "namespace": "scoring",
        "commonAnnotations": {"gitops/model": MODEL, "gitops/key": KEY},
        "images": [{"name": "service", "newName": name, "digest": digest}] if image else [],
        "replicas": [] if image else [{"name": "scorer", "count": 0}],
    }
    shutil.copytree(DEPLOY / "base", tmp_path / "base")
    (tmp_path / "overlay").mkdir()
    (tmp_path / "overlay" / "kustomization.yaml").write_text(json.dumps(overlay))
    named = yaml.safe_load(texts()["kustomization.yaml"]) | {"namespace": "scoring"}
    made = promoted(tmp_path, MANIFEST | {"image": image}, texts() | {"kustomization.yaml": json.dumps(named)})
    volumes = {each["name"]: each for each in pod(made)["spec"]["volumes"]}
    card = made.pop("ConfigMap")
    assert card["data"] == {"MODEL_CARD.md": CARD} and card["metadata"]["namespace"] == "scoring"
    assert volumes["about"]["configMap"]["name"] == card["metadata"]["name"] != kustomization.MODEL_CARD, (
        "by its content"
    )
    volumes["about"]["configMap"]["name"] = kustomization.MODEL_CARD
    assert made == build(tmp_path / "overlay")
    assert made["Deployment"]["spec"]["replicas"] == (base["Deployment"]["spec"]["replicas"] if image else 0)


def test_every_file_that_is_applied_lies_in_the_folder() -> None:
    made = kustomization.files(MANIFEST, texts())
    assert made.keys() == {"kustomization.yaml", *yaml.safe_load(made["kustomization.yaml"])["resources"]}
    assert list(made.items()) == list(kustomization.files(MANIFEST, dict(reversed(texts().items()))).items())
    without = kustomization.files(MANIFEST | {"image": None}, texts())["kustomization.yaml"]
    assert "names no container_registry" in without


def test_what_a_promotion_makes_itself_the_base_may_not_have() -> None:
    card = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: model-card}\n"
    named = texts()["kustomization.yaml"].replace("  - service.yaml\n", "  - service.yaml\n  - more.yaml\n")
    with pytest.raises(kustomization.Refused, match="'model-card' itself; give yours another name"):
        kustomization.files(MANIFEST, texts() | {"kustomization.yaml": named, "more.yaml": card})
    with pytest.raises(kustomization.Refused, match="of the namespace 'mine'; name it in kustomization.yaml"):
        elsewhere = card.replace("{name: model-card}", "{name: more, namespace: mine}")
        kustomization.files(MANIFEST, texts() | {"kustomization.yaml": named, "more.yaml": elsewhere})


def test_another_model_is_a_rollout() -> None:
    def template(manifest: Mapping[str, Any]) -> Any:
        return yaml.safe_load(kustomization.files(manifest, texts())["deployment.yaml"])["spec"]["template"]

    assert template(MANIFEST)["metadata"]["annotations"]["gitops/model"] == MODEL
    assert template(MANIFEST | {"model": OTHER}) != template(MANIFEST)


def test_a_pod_is_told_which_model_was_promoted(tmp_path: Path) -> None:
    template = pod(promoted(tmp_path, MANIFEST, texts()))
    (container,) = template["spec"]["containers"]
    (told,) = [each for each in container["env"] if each["name"] == "PROMOTED_MODEL"]
    place = told["valueFrom"]["fieldRef"]["fieldPath"]
    annotation = re.fullmatch(r"metadata\.annotations\['(.*)'\]", place)
    assert annotation and template["metadata"]["annotations"][annotation[1]] == MODEL


def test_a_manifest_adds_nothing_of_its_own() -> None:
    hostile = "a\nresources: [http://evil]\n---\nkind: Job"
    made = kustomization.files(MANIFEST | {"key": hostile}, texts())
    assert yaml.safe_load(made["kustomization.yaml"]) == yaml.safe_load(
        kustomization.files(MANIFEST, texts())["kustomization.yaml"]
    )
    assert yaml.safe_load(made["service.yaml"])["metadata"]["annotations"]["gitops/key"] == hostile


EVIL = "docker.io/evil/scorer"
CRON = """apiVersion: batch/v1
kind: CronJob
metadata: {name: scorer}
spec:
  schedule: "* * * * *"
  jobTemplate: {spec: {template: {spec: {restartPolicy: Never, containers: [{name: x, image: service}]}}}}
"""
KNATIVE = "apiVersion: serving.knative.dev/v1\nkind: Service\nmetadata: {name: scorer}\n"
ITEM = "resources:\n"
CHANGES: dict[str, tuple[str, str, str, str]] = {  # in which file what is put in place of what, and what is said of it
    "another image": ("deployment.yaml", "image: service", f"image: {EVIL}", EVIL),
    "an image with a tag": ("deployment.yaml", "image: service", "image: service:latest", "service:latest"),
    "a second container": (
        *("deployment.yaml", "containers:\n", f"containers:\n        - {{name: x, image: {EVIL}}}\n", EVIL),
    ),
    "an init container": (
        *(
            "deployment.yaml",
            "containers:\n",
            f"initContainers: [{{name: x, image: {EVIL}}}]\n      containers:\n",
            EVIL,
        ),
    ),
    "an ephemeral container": (
        *("deployment.yaml", "containers:\n", f"ephemeralContainers: [{{image: {EVIL}}}]\n      containers:\n", EVIL),
    ),
    "a volume of an image": (
        *("deployment.yaml", "volumes:\n", f"volumes:\n        - {{name: x, image: {{reference: {EVIL}}}}}\n", EVIL),
    ),
    "no image": ("deployment.yaml", "image: service", "tty: true", "without an image"),
    "an alias": ("deployment.yaml", "image: service", "image: &x service\n          workingDir: *x", "alias"),
    "a date": ("deployment.yaml", "metadata:\n  name: scorer", "metadata:\n  name: 2026-01-01", "types of JSON"),
    "no YAML": ("service.yaml", "spec:", "spec: [", "types of JSON"),
    "another kind": ("service.yaml", "kind: Service", "kind: List", "'v1 List'"),
    "another group's kind": ("service.yaml", "apiVersion: v1", "apiVersion: serving.knative.dev/v1", "serving.knative"),
    "another document": ("service.yaml", "apiVersion: v1", f"{CRON}---\napiVersion: v1", "CronJob"),
    "a remote resource": ("kustomization.yaml", ITEM, f"{ITEM}  - https://evil.example/x.yaml\n", "https://evil"),
    "a remote folder": ("kustomization.yaml", ITEM, f"{ITEM}  - github.com/evil/x?ref=main\n", "github.com/evil"),
    "a folder above": ("kustomization.yaml", ITEM, f"{ITEM}  - ../other\n", "'../other'"),
    "a file that is not there": ("kustomization.yaml", ITEM, f"{ITEM}  - other.yaml\n", "missing"),
    "a file listed twice": ("kustomization.yaml", ITEM, f"{ITEM}  - service.yaml\n", "twice"),
    "a file not listed": ("kustomization.yaml", "  - service.yaml\n", "", "does not list it"),
    "no list": ("kustomization.yaml", ITEM, "resources: service.yaml\nnamespace:\n", "no list of files"),
    "a namespace of another form": ("kustomization.yaml", ITEM, f"namespace: A b\n{ITEM}", "'A b'"),
    **{
        field: ("kustomization.yaml", ITEM, f"{field}: []\n{ITEM}", field)
        for field in (
            *("bases", "components", "configMapGenerator", "crds", "generators", "helmCharts", "images", "labels"),
            *("namePrefix", "patches", "patchesJson6902", "replacements", "secretGenerator", "transformers"),
        )
    },
}


@pytest.mark.parametrize("change", CHANGES)
def test_what_is_not_known_to_be_safe_is_refused_in_a_sentence(change: str) -> None:
    name, old, new, said = CHANGES[change]
    base = texts()
    assert base[name].count(old) >= 1
    with pytest.raises(SystemExit) as refused:
        kustomization.files(MANIFEST, base | {name: base[name].replace(old, new, 1)})
    sentence = str(refused.value)
    assert said in sentence and sentence.startswith("'deploy/base/") and "; " in sentence and "\n" not in sentence


def test_a_change_of_the_base_is_judged_by_the_report() -> None:
    def tree(base: Mapping[str, str]) -> dict[str, tuple[str, str]]:
        return {f"deploy/base/{name}": (content.FILE, text) for name, text in base.items()}

    def judged(base: Mapping[str, str]) -> Any:
        return kustomization.judge(tree(texts()), tree(base), lambda path: base[path.removeprefix("deploy/base/")])

    name, old, new, _ = CHANGES["another image"]
    assert judged(texts()) == {}
    assert judged(texts() | {name: texts()[name].replace("cpu: 500m", "cpu: 600m")})["deploy"]["violations"] == []
    (violation,) = judged(texts() | {name: texts()[name].replace(old, new)})["deploy"]["violations"]
    assert violation["file"] == "deploy/base/deployment.yaml" and EVIL in violation["value"]
    assert {*violation} == {"rule", "file", "value", "bar", "next"}


@pytest.mark.parametrize("whole", [CRON, KNATIVE, "- a list\n", "", "kind: [", "[" * 1000])
def test_a_file_more_is_refused_listed_or_not(whole: str) -> None:
    base = texts()
    listed = base["kustomization.yaml"].replace(ITEM, f"{ITEM}  - more.yaml\n")
    for changed in ({}, {"kustomization.yaml": listed}):
        with pytest.raises(SystemExit, match=r"deploy/base/more\.yaml"):
            kustomization.files(MANIFEST, base | changed | {"more.yaml": whole})


def test_the_base_is_read_from_git_and_holds_plain_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def git(*arguments: str) -> None:
        subprocess.run(["git", "-c", "user.name=n", "-c", "user.email=e@localhost", *arguments], check=True)

    monkeypatch.chdir(tmp_path)
    shutil.copytree(DEPLOY / "base", "deploy/base")
    git("init", "--quiet")
    git("add", "--all")
    git("commit", "--quiet", "--message=base")
    Path("deploy/base/service.yaml").write_text("what is not committed\n")
    key = content.key()
    assert kustomization.base() == texts()
    Path("deploy/base/service.yaml").unlink()
    Path("deploy/base/service.yaml").symlink_to("../../elsewhere.yaml")
    git("commit", "--quiet", "--all", "--message=link")
    with pytest.raises(SystemExit, match=r"deploy/base/service\.yaml.*link"):
        kustomization.base()
    tree, before = content.tree("HEAD"), content.tree("HEAD^")
    (gate,) = kustomization.judge(before, tree, lambda path: None).values()
    assert [each["file"] for each in gate["violations"]] == ["deploy/base/service.yaml"]
    assert content.key() != key
    assert kustomization.base("HEAD^") == texts()
