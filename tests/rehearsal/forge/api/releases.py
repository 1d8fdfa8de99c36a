"""Releases with their assets, deployments with their statuses."""

import hashlib
from typing import Any
from urllib.parse import quote

from .. import environments, rules
from ..answers import Json
from ..state import ROLES, Refused, invalid, present
from .objects import move
from .routing import Answer, Call, route, serve_rows

serve_rows("deployments", "deployments", "deployments")


@route("GET /repos/{repo}/releases", grant="contents:read")
def list_releases(call: Call) -> list[Json]:
    """Drafts too, for those who may write."""
    return [row for row in call.repo.rows("releases") if not row["draft"] or writes(call)][::-1]


def writes(call: Call) -> bool:
    """Whether the caller may write releases."""
    permissions = call.actor.permissions
    if permissions is None:
        return call.state.level(call.repo, call.actor) >= ROLES.index("write")
    return permissions.get("contents") == "write"


@route("GET /repos/{repo}/releases/{id}", grant="contents:read")
def get_release(call: Call, id: int) -> Json:
    release = call.repo.row("releases", id)
    if release["draft"] and not writes(call):
        raise Refused(404, "Not Found")
    return release


@route("DELETE /repos/{repo}/releases/{id}", grant="contents:write")
def delete_release(call: Call, id: int) -> None:
    """Its tag stays; that of an immutable release is never released again."""
    release = call.repo.row("releases", id)
    if release["immutable"]:
        call.repo.spent_tags.add(release["tag_name"])
    del call.repo.tables["releases"][id]


@route("POST /repos/{repo}/releases", grant="contents:write")
def create_release(call: Call) -> Json:
    body = call.need("Release", "tag_name")
    refuse_taken(call, body["tag_name"], draft=bool(body.get("draft")))
    target = body.get("target_commitish") or call.repo.info["default_branch"]
    if not call.repo.git.resolve(target):
        raise invalid("Release", "target_commitish", "invalid")
    fields: Json = {"name": None, "body": None, "draft": False, "prerelease": False, "immutable": False}
    fields |= {name: body[name] for name in (*fields, "tag_name") if name in body}
    fields |= {"target_commitish": target, "author": call.user(), "published_at": None, "assets": []}
    release = call.state.new(call.repo, "releases", "releases/{id}", fields, "releases/tag/untagged-{id}")
    release |= {
        "assets_url": f"{release['url']}/assets",
        "upload_url": release["url"].replace("/api/v3/", "/api/uploads/") + "/assets{?name,label}",
        **{f"{kind}_url": f"{call.repo.api}/{kind}/{body['tag_name']}" for kind in ("zipball", "tarball")},
    }
    if not release["draft"]:
        publish(call, release)
    return release


def refuse_taken(call: Call, tag: str, draft: bool) -> None:
    """Any number of drafts may name a tag, one release has it."""
    if not draft and call.repo.rows("releases", tag_name=tag, draft=False):
        raise invalid("Release", "tag_name", "already_exists")
    if not draft and tag in call.repo.spent_tags:
        raise invalid("Release", "tag_name", "custom", "tag_name was used by an immutable release")


def publish(call: Call, release: Json) -> None:
    """From now on there is a tag; where the repository says so, neither it nor an asset changes any more."""
    ref = f"refs/tags/{release['tag_name']}"
    sha = call.repo.git.resolve(ref) or call.repo.commit(release["target_commitish"])
    if ref not in call.repo.git.refs(ref):
        move(call, ref, sha)
    release |= {"published_at": call.state.now(), "immutable": call.repo.immutable_releases}
    release["html_url"] = f"{call.repo.info['html_url']}/releases/tag/{quote(release['tag_name'])}"
    for asset in release["assets"]:
        asset["browser_download_url"] = download_page(call, release, asset["name"])
    for action in ("published", "released"):
        call.emit("release", ref, sha, action=action, release=release)


@route("GET /repos/{repo}/releases/latest", grant="contents:read")
def get_latest_release(call: Call) -> Json:
    found = call.repo.rows("releases", draft=False, prerelease=False)
    if not found:
        raise Refused(404, "Not Found")
    return found[-1]


@route("GET /repos/{repo}/releases/tags/{tag*}", grant="contents:read")
def get_release_by_tag(call: Call, tag: str) -> Json:
    found = call.repo.rows("releases", draft=False, tag_name=tag)
    if not found:
        raise Refused(404, "Not Found")
    return found[-1]


@route("PATCH /repos/{repo}/releases/{id}", grant="contents:write")
def update_release(call: Call, id: int) -> Json:
    release, body = call.repo.row("releases", id), call.body
    was_draft = release["draft"]
    if was_draft and body.get("draft") is False:
        refuse_taken(call, body.get("tag_name") or release["tag_name"], draft=False)
    if release["immutable"] and body.get("tag_name", release["tag_name"]) != release["tag_name"]:
        raise Refused(422, "Cannot change the tag of an immutable release.")
    written = ("tag_name", "target_commitish", "name", "body", "draft", "prerelease")
    release |= {name: body[name] for name in written if name in body}
    if was_draft and not release["draft"]:
        publish(call, release)
    return release


@route("GET /repos/{repo}/releases/{id}/assets", grant="contents:read")
def list_assets(call: Call, id: int) -> list[Json]:
    return list(get_release(call, id)["assets"])


def download_page(call: Call, release: Json, name: str) -> str:
    """Where browsers find an asset: until it is published a draft has no tag in its address."""
    place = f"untagged-{release['id']}" if release["draft"] else release["tag_name"]
    return f"{call.repo.info['html_url']}/releases/download/{place}/{quote(name)}"


@route("POST /api/uploads/repos/{repo}/releases/{id}/assets", grant="contents:write")
def upload_asset(call: Call, id: int) -> Json:
    release, name = call.repo.row("releases", id), call.query.get("name", "")
    if not name:
        raise Refused(400, "Bad Request")
    if release["immutable"]:
        raise Refused(422, "Cannot upload assets to an immutable release.")
    if any(asset["name"] == name for asset in release["assets"]):
        raise invalid("ReleaseAsset", "name", "already_exists")
    fields = {
        **{"name": name, "label": call.query.get("label"), "state": "uploaded", "uploader": call.user()},
        **{"content_type": call.headers.get("content-type", ""), "size": len(call.content), "download_count": 0},
        "browser_download_url": download_page(call, release, name),
        **{"digest": f"sha256:{hashlib.sha256(call.content).hexdigest()}"},
    }
    asset = call.state.new(call.repo, "assets", "releases/assets/{id}", fields)
    call.repo.bytes[asset["id"]] = call.content
    release["assets"].append(asset)
    return asset


@route("GET /repos/{repo}/releases/assets/{id}", grant="contents:read")
def get_asset(call: Call, id: int) -> Any:
    asset = call.repo.row("assets", id)
    if "octet-stream" not in call.headers.get("accept", ""):
        return asset
    asset["download_count"] += 1
    return Answer(200, call.repo.bytes[id], {"Content-Type": asset["content_type"]})


@route("DELETE /repos/{repo}/releases/assets/{id}", grant="contents:write")
def delete_asset(call: Call, id: int) -> None:
    asset = call.repo.row("assets", id)
    (release,) = (each for each in call.repo.rows("releases") if asset in each["assets"])
    if release["immutable"]:
        raise Refused(422, "Cannot delete asset from an immutable release")
    del call.repo.tables["assets"][id]
    release["assets"].remove(asset)


@route("GET /{repo}/releases/download/{tag}/{name}", grant="contents:read")
def download_asset(call: Call, tag: str, name: str) -> Answer:
    for asset in get_release_by_tag(call, tag)["assets"]:
        if asset["name"] == name:
            return Answer(200, call.repo.bytes[asset["id"]], {"Content-Type": asset["content_type"]})
    raise Refused(404, "Not Found")


@route("GET /repos/{repo}/deployments", grant="deployments:read")
def list_deployments(call: Call) -> list[Json]:
    wanted = present(call.query, ("environment", "ref", "sha", "task"))
    return call.repo.rows("deployments", **wanted)[::-1]


@route("POST /repos/{repo}/deployments", grant="deployments:write")
def create_deployment(call: Call) -> Json:
    """By default every check of the commit must have passed; `required_contexts: []` asks for none."""
    body = call.need("Deployment", "ref")
    sha, required = call.repo.commit(body["ref"]), body.get("required_contexts")
    states = rules.check_states(call.repo, sha)
    bad = {name for name, _, verdict in states if verdict not in rules.PASSED}
    wanted = {name for name, _, _ in states} if required is None else set(required)
    if wanted & bad or wanted - {name for name, _, _ in states}:
        raise Refused(409, f"Conflict: Commit status checks failed for {body['ref']}.")
    deployment = environments.deploy(call.state, call.repo, call.actor, sha, body)
    call.emit("deployment", sha=sha, action="created", deployment=deployment)
    return deployment


@route("GET /repos/{repo}/deployments/{id}/statuses", grant="deployments:read")
def list_deployment_statuses(call: Call, id: int) -> list[Json]:
    return call.repo.rows("deployment_statuses", deployment_url=call.repo.row("deployments", id)["url"])[::-1]


@route("POST /repos/{repo}/deployments/{id}/statuses", grant="deployments:write")
def create_deployment_status(call: Call, id: int) -> Json:
    body, deployment = call.need("DeploymentStatus", "state"), call.repo.row("deployments", id)
    status = environments.report(call.state, call.repo, call.actor, deployment, body)
    call.emit("deployment_status", sha=deployment["sha"], action="created", deployment_status=status)
    return status
