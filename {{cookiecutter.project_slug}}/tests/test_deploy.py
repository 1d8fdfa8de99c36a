"""deploy/ builds with kustomize, is what Kubernetes knows, and runs the model that was promoted."""

import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from gitops import kustomization

DEPLOY = Path(__file__).parent.parent / "deploy"
MODEL, IMAGE, OTHER = (f"sha256:{digit * 64}" for digit in "123")
MANIFEST = {"model": MODEL, "key": "a" * 32, "image": f"registry.example.org:5000/acme/fraud@{IMAGE}"}
Resources = dict[str, dict[str, Any]]


@pytest.fixture(scope="module")
def base() -> Resources:
    return build(DEPLOY / "base")


@pytest.fixture
def deploy(tmp_path: Path) -> Path:
    """A copy of deploy/ as it was baked, without a model."""
    return Path(shutil.copytree(DEPLOY, tmp_path / "deploy"))


def build(folder: Path) -> Resources:
    """What an agent would apply, by kind; each checked by the schemas of Kubernetes, typos too."""
    kubectl = shutil.which("kubectl")
    validate = pytest.importorskip("kubernetes_validate", reason="needs kubernetes-validate")
    if not kubectl:
        pytest.skip("needs kubectl")
    done = subprocess.run([kubectl, "kustomize", folder], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")  # a warning is a field that goes away
    resources = list(yaml.safe_load_all(done.stdout))
    for resource in resources:
        validate.validate(resource, validate.latest_version(), strict=True)
    return {resource["kind"]: resource for resource in resources}


def promoted(deploy: Path, manifest: Mapping[str, Any]) -> Resources:
    """What an agent would apply after a promotion."""
    (deploy / "production" / "kustomization.yaml").write_text(kustomization.render(manifest))
    return build(deploy / "production")


def pod(resources: Resources) -> Any:
    return resources["Deployment"]["spec"]["template"]


def test_the_base_is_complete(base: Resources) -> None:
    assert {*base} == {"Deployment", "Service", "PodDisruptionBudget"}
    (container,) = pod(base)["spec"]["containers"]
    assert container["livenessProbe"]["httpGet"]["path"] == "/livez"
    assert {container[f"{kind}Probe"]["httpGet"]["path"] for kind in ("startup", "readiness")} == {"/readyz"}
    labels = pod(base)["metadata"]["labels"]
    selectors = [base[kind]["spec"]["selector"] for kind in ("Service", "Deployment", "PodDisruptionBudget")]
    assert [selector.get("matchLabels", selector) for selector in selectors] == [labels] * 3
    assert base["Service"]["spec"]["ports"][0]["targetPort"] == container["ports"][0]["name"]


def test_a_pod_may_do_little(base: Resources) -> None:
    spec = pod(base)["spec"]
    (container,) = spec["containers"]
    assert spec["securityContext"]["runAsNonRoot"] and not spec["automountServiceAccountToken"]
    allowed = container["securityContext"]
    assert allowed["readOnlyRootFilesystem"] and not allowed["allowPrivilegeEscalation"]
    assert container["resources"]["requests"] and container["resources"]["limits"]["memory"]


def test_what_the_service_writes_lies_on_a_volume(base: Resources) -> None:
    spec = pod(base)["spec"]
    (container,) = spec["containers"]
    places = {mount["mountPath"] for mount in container["volumeMounts"]}
    written = [variable["value"] for variable in container["env"] if variable["value"].startswith("/")]
    assert written and all(any(Path(path).is_relative_to(place) for place in places) for path in written)
    assert {mount["name"] for mount in container["volumeMounts"]} == {volume["name"] for volume in spec["volumes"]}


def test_a_pod_leaves_the_service_before_it_is_stopped(base: Resources) -> None:
    spec = pod(base)["spec"]
    command, seconds = spec["containers"][0]["lifecycle"]["preStop"]["exec"]["command"]
    assert command == "sleep" and int(seconds) >= 10
    assert spec["terminationGracePeriodSeconds"] >= int(seconds) + 10


def test_nothing_runs_before_the_first_promotion(deploy: Path) -> None:
    assert build(deploy / "production")["Deployment"]["spec"]["replicas"] == 0


def test_a_promotion_pins_the_image_by_its_digest(deploy: Path, base: Resources) -> None:
    resources = promoted(deploy, MANIFEST)
    assert pod(resources)["spec"]["containers"][0]["image"] == MANIFEST["image"]
    assert resources["Deployment"]["spec"]["replicas"] == base["Deployment"]["spec"]["replicas"]


def test_without_a_registry_nothing_runs_and_the_file_says_why(deploy: Path) -> None:
    manifest = MANIFEST | {"image": None}
    assert promoted(deploy, manifest)["Deployment"]["spec"]["replicas"] == 0
    assert "CONTAINER_REGISTRY is not set" in kustomization.render(manifest)


def test_another_model_is_a_rollout(deploy: Path) -> None:
    before = pod(promoted(deploy, MANIFEST))
    assert before["metadata"]["annotations"]["gitops/model"] == MODEL
    assert pod(promoted(deploy, MANIFEST | {"model": OTHER})) != before
    assert pod(promoted(deploy, MANIFEST)) == before


def test_a_manifest_adds_nothing_of_its_own() -> None:
    text = kustomization.render(MANIFEST | {"key": "a\nresources: [http://evil]"})
    assert yaml.safe_load(text)["resources"] == ["../base"]
