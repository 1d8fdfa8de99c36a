"""What a GitOps agent applies: the service of deploy/base with the promoted model's image."""

from collections.abc import Mapping
from typing import Any

import yaml

HEAD = "# Written by `gitops` from manifest.json beside it; only a promotion changes it.\n"
NO_IMAGE = "# No image was pushed, because the repository variable CONTAINER_REGISTRY is not set: nothing runs.\n"


def render(manifest: Mapping[str, Any]) -> str:
    """deploy/production/kustomization.yaml, a pure function of deploy/production/manifest.json.

    The pods carry the model's digest, so that another model is a rollout, whatever image it comes in.
    """
    body: dict[str, Any] = {
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "resources": ["../base"],
        "commonAnnotations": {"gitops/model": manifest["model"], "gitops/key": manifest["key"]},
    }
    if manifest["image"] is None:
        return HEAD + NO_IMAGE + dump(body | {"replicas": [{"name": "scorer", "count": 0}]})
    name, _, digest = manifest["image"].partition("@")
    return HEAD + dump(body | {"images": [{"name": "service", "newName": name, "digest": digest}]})


def dump(body: Mapping[str, Any]) -> str:
    """As YAML, in the order given."""
    return yaml.safe_dump(dict(body), sort_keys=False)
