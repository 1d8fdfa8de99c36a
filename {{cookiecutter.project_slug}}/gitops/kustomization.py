"""What a GitOps agent applies: the manifests of deploy/base with the promoted model's image written into them.

Nothing in deploy/production refers to another folder: what runs is what the promotion shows.
"""

import json
import re
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import yaml

from gitops import content
from pipeline.reading import in_a_line

BASE = "deploy/base/"
LIST = "kustomization.yaml"
IMAGE = "service"
MODEL_CARD = "model-card"  # for the service's page, where deploy/base mounts it
KINDS = (
    "apps/v1 Deployment",
    "autoscaling/v2 HorizontalPodAutoscaler",
    "networking.k8s.io/v1 Ingress",
    "networking.k8s.io/v1 NetworkPolicy",
    "policy/v1 PodDisruptionBudget",
    "v1 ConfigMap",
    "v1 Service",
    "v1 ServiceAccount",
)
"""What deploy/base may hold: kinds with a namespace, of which only a Deployment runs an image."""
HEAD = "# Written by `gitops` from deploy/base and manifest.json beside it; only a promotion changes it.\n"
NO_IMAGE = "# No image was pushed, because platform.yaml names no container_registry: nothing runs.\n"

Json = dict[str, Any]


class Refused(SystemExit):
    """What deploy/base has that is not known to be safe: a process that does not heed it ends with the sentence."""

    def __init__(self, name: str, found: str, todo: str) -> None:
        """The name of the file, what is wrong there, and what to do."""
        file = BASE + name
        super().__init__(f"{file!r:.200}: {found}; {todo}")
        bar = "plain manifests that run the image under test alone"
        self.violation = {"rule": "deploy", "file": file, "value": found, "bar": bar, "next": todo}


def base(revision: str = "HEAD") -> dict[str, str]:
    """The texts of deploy/base at a revision, by the name of their file. Raises Refused."""
    return texts(content.tree(revision), partial(content.text, revision))


def texts(tree: content.Tree, read: Callable[[str], str | None]) -> dict[str, str]:
    """The texts of deploy/base in a tree whose files can be read. Raises Refused where one is no plain file of text."""
    found = {}
    for path, (mode, _) in tree.items():
        if not path.startswith(BASE):
            continue
        name = path.removeprefix(BASE)
        if mode != content.FILE:
            raise Refused(name, "it is a link, a program or a submodule", "put a plain file there")
        try:
            found[name] = read(path) or ""
        except UnicodeDecodeError:
            raise Refused(name, "it is not UTF-8", "save it as UTF-8, or remove it") from None
    return found


def judge(before: content.Tree, after: content.Tree, read: Callable[[str], str | None]) -> dict[str, Any]:
    """A gate of the report, where deploy/base changes from one tree to another whose files can be read; else none."""
    ours = [{path: file for path, file in tree.items() if path.startswith(BASE)} for tree in (before, after)]
    if ours[0] == ours[1]:
        return {}
    violations = []
    try:
        files({"model": "", "key": "", "image": None}, texts(after, read))
    except Refused as refused:
        violations.append(refused.violation)
    return {"deploy": {"violations": violations, "not_judged": []}}


def files(manifest: Mapping[str, Any], base: Mapping[str, str]) -> dict[str, str]:
    """Every file of deploy/production that an agent applies, by its name: a pure function of the manifest and `base`.

    The pods carry the model's digest, so that another model is a rollout, whatever image it comes in. Raises Refused
    where `base` has anything that is not known to be safe.
    """
    asked = listed(base)
    inside = {"namespace": asked["namespace"]} if "namespace" in asked else {}
    whole = {
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "resources": asked["resources"],
        "configMapGenerator": [{**inside, "name": MODEL_CARD, "files": ["MODEL_CARD.md"]}],
    }
    made = {LIST: HEAD + (NO_IMAGE if manifest["image"] is None else "") + dump(whole)}
    for name in asked["resources"]:
        resources = [filled(name, each, manifest, asked.get("namespace")) for each in parsed(name, base[name])]
        made[name] = HEAD + dump(*resources)
    return made


def listed(base: Mapping[str, str]) -> Json:
    """The kustomization of deploy/base: a list of local files, and a namespace where there is one."""
    if LIST not in base:
        raise Refused(LIST, "it is missing", "add it, with every other file of the folder in its `resources`")
    documents = parsed(LIST, base[LIST])
    if [document.get("kind") for document in documents] != ["Kustomization"]:
        raise Refused(LIST, "it is not one Kustomization", "write one, with apiVersion, kind and resources")
    (asked,) = documents
    for field in asked.keys() - {"apiVersion", "kind", "namespace", "resources"}:
        raise Refused(
            LIST, f"{field!r} changes what is applied unseen", "write into the manifests what it would do to them"
        )
    named = asked.get("resources")
    if not isinstance(named, list) or not named or not all(isinstance(name, str) for name in named):
        raise Refused(LIST, "`resources` is no list of files", "list every other file of the folder")
    for name in named:
        if not re.fullmatch(r"[a-z0-9][a-z0-9-]*\.yaml", name) or name == LIST:
            raise Refused(LIST, f"the resource {name!r} is no manifest in this folder", "copy it here, as NAME.yaml")
        if name not in base or named.count(name) > 1:
            raise Refused(
                LIST, f"the resource {name!r} is missing or listed twice", "list each file of the folder once"
            )
    for name in base.keys() - {LIST, *named}:
        raise Refused(name, f"{LIST} does not list it", "list it there, or remove it")
    namespace = asked.get("namespace", "default")
    if not isinstance(namespace, str) or not re.fullmatch(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?", namespace):
        raise Refused(LIST, f"{namespace!r} is no name of a namespace", "use up to 63 small letters, digits and dashes")
    return asked


def parsed(name: str, text: str) -> list[Json]:
    """The documents of a file, as plain JSON has them."""
    try:
        if any(isinstance(event, yaml.AliasEvent) for event in yaml.parse(text)):
            raise Refused(name, "it has an alias (`*name`)", "write out what it stands for")
        documents: list[Json] = json.loads(json.dumps([*yaml.safe_load_all(text)], allow_nan=False))
    except (yaml.YAMLError, RecursionError, TypeError, ValueError) as error:
        raise Refused(name, f"it is no YAML with the types of JSON ({in_a_line(error)})", "mend it") from None
    if not documents or not all(isinstance(document, dict) for document in documents):
        raise Refused(name, "it holds something that is no manifest, or nothing", "remove that, or the file")
    return documents


def filled(name: str, resource: Json, manifest: Mapping[str, Any], namespace: str | None) -> Json:
    """A resource of the base as production has it."""
    kind = f"{resource.get('apiVersion')} {resource.get('kind')}"
    if kind not in KINDS:
        known = "one that runs no image and has a namespace can be added to KINDS in gitops/kustomization.py"
        raise Refused(name, f"{kind!r} is no kind that is known to be safe", f"remove it; {known}")
    about = annotated(name, resource, manifest)
    if kind == "v1 ConfigMap" and about.get("name") == MODEL_CARD:
        raise Refused(name, f"a promotion makes the ConfigMap {MODEL_CARD!r} itself", "give yours another name")
    if about.get("namespace", namespace) != namespace:
        raise Refused(name, f"it is of the namespace {about['namespace']!r}", f"name it in {LIST}, for all of them")
    if namespace:
        about["namespace"] = namespace
    if kind != "apps/v1 Deployment":
        return resource
    spec = mapping(name, resource, "spec")
    template = mapping(name, spec, "template")
    annotated(name, template, manifest)
    pod = mapping(name, template, "spec")
    for field in ("containers", "initContainers", "ephemeralContainers"):
        found = pod.get(field, [])
        if not isinstance(found, list) or not all(isinstance(each, dict) and "image" in each for each in found):
            raise Refused(name, f"`{field}` has something without an image", f"give each container `image: {IMAGE}`")
    if manifest["image"] is None:
        spec["replicas"] = 0
    template["spec"] = pinned(name, pod, manifest["image"] or IMAGE)
    return resource


def annotated(name: str, holder: Json, manifest: Mapping[str, Any]) -> Json:
    """The metadata of what `holder` is, which now names the model."""
    about = mapping(name, holder, "metadata")
    mapping(name, about, "annotations").update({f"gitops/{what}": manifest[what] for what in ("model", "key")})
    return about


def pinned(name: str, value: Any, image: str) -> Any:
    """A part of a pod with the image in its containers; volumes have images too, and are refused."""
    if isinstance(value, list):
        return [pinned(name, each, image) for each in value]
    if not isinstance(value, dict):
        return value
    if value.get("image", IMAGE) != IMAGE:
        named = "a promotion puts the one that was tested in its place, and nothing else may run"
        raise Refused(name, f"the image {value['image']!r} is not `{IMAGE}`", f"write `image: {IMAGE}`: {named}")
    return {key: image if key == "image" else pinned(name, each, image) for key, each in value.items()}


def mapping(name: str, holder: Json, field: str) -> Json:
    """A field that is a mapping; an empty one is put where there is none."""
    value = holder.setdefault(field, {})
    if not isinstance(value, dict):
        raise Refused(name, f"`{field}` is no mapping", "write it as Kubernetes has it")
    return value


class Dumper(yaml.SafeDumper):
    """Writes strings so that every reader of YAML takes them for strings: to some, 1e3 is a number and y is true."""

    def string(self, value: str) -> yaml.ScalarNode:
        """Plain only where it begins with a letter or a slash."""
        plain = re.match(r"[A-Za-z/].", value)
        style = "|" if "\n" in value else None if plain else '"'
        return self.represent_scalar("tag:yaml.org,2002:str", value, style=style)


Dumper.add_representer(str, Dumper.string)


def dump(*documents: Mapping[str, Any]) -> str:
    """As YAML, in the order given."""
    return yaml.dump_all(documents, Dumper=Dumper, sort_keys=False, width=1000)
