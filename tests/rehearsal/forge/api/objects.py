"""Branches, tags, commits, files and the git objects below them."""

import base64
import re
from typing import Any
from urllib.parse import quote

from .. import answers, pulls, rules
from ..answers import Json
from ..state import Refused, Repo
from .routing import Answer, Call, route


@route("GET /repos/{repo}/branches", grant="contents:read")
def list_branches(call: Call) -> list[Json]:
    return [short_branch(call, ref[11:], sha) for ref, sha in call.repo.git.refs("refs/heads/").items()]


def short_branch(call: Call, name: str, sha: str) -> Json:
    commit = {"sha": sha, "url": f"{call.repo.api}/commits/{sha}"}
    guarded = bool(rules.of_branch(call.repo, name))
    url = f"{call.repo.api}/branches/{name}/protection"
    return {"name": name, "commit": commit, "protected": guarded, "protection_url": url}


@route("GET /repos/{repo}/branches/{branch*}", grant="contents:read")
def get_branch(call: Call, branch: str) -> Json:
    sha = call.repo.git.resolve(f"refs/heads/{branch}")
    if not sha:
        raise Refused(404, "Branch not found")
    short = short_branch(call, branch, sha)
    links = {"self": f"{call.repo.api}/branches/{branch}", "html": f"{call.repo.info['html_url']}/tree/{branch}"}
    checks = {"enforcement_level": "off", "contexts": [], "checks": []}
    protection = {"enabled": short["protected"], "required_status_checks": checks}
    return {**short, "commit": one_commit(call, sha), "_links": links, "protection": protection}


@route("POST /repos/{repo}/branches/{branch}/rename", grant="administration:write")
def rename_branch(call: Call, branch: str) -> Answer:
    git, new = call.repo.git, call.need("Branch", "new_name")["new_name"]
    old = call.repo.git.resolve(f"refs/heads/{branch}")
    if not old:
        raise Refused(404, "Branch not found")
    if git.resolve(f"refs/heads/{new}"):
        raise Refused(422, "New branch already exists")
    git("branch", "--move", branch, new)  # HEAD too
    if call.repo.info["default_branch"] == branch:
        call.repo.info["default_branch"] = new
    return Answer(201, get_branch(call, new))


def one_commit(call: Call, sha: str) -> Json:
    return call.state.commit_answer(call.repo, call.repo.git.commits(sha, "-1")[0])


@route("GET /repos/{repo}/tags", grant="contents:read")
def list_tags(call: Call) -> list[Json]:
    return [
        {
            "name": ref[10:],
            "commit": {"sha": sha, "url": f"{call.repo.api}/commits/{sha}"},
            **{f"{kind}_url": f"{call.repo.api}/{kind}/{ref}" for kind in ("zipball", "tarball")},
            "node_id": f"REF_{ref[10:]}",
        }
        for ref, sha in reversed(call.repo.git.refs("refs/tags/").items())
    ]


@route("GET /repos/{repo}/commits", grant="contents:read")
def list_commits(call: Call) -> list[Json]:
    start = call.query.get("sha") or call.repo.info["default_branch"]
    records = call.repo.git.commits(call.repo.commit(start))
    if "path" in call.query:
        shas = call.repo.git("rev-list", call.repo.commit(start), "--", call.query["path"]).split()
        records = [record for record in records if record["sha"] in shas]
    return [call.state.commit_answer(call.repo, record) for record in records]


@route("GET /repos/{repo}/commits/{ref*}/pulls", grant="pull_requests:read")
def list_pulls_of_commit(call: Call, ref: str) -> list[Json]:
    sha, found = call.repo.commit(ref), []
    for number, pull in call.repo.tables["pulls"].items():
        tip = pull["merge_commit_sha"] if pull["merged"] else pull["head"]["sha"]
        if sha in call.repo.git("rev-list", f"{pull['base']['sha']}..{tip}").split():
            found.append(pulls.view(call.state, call.repo, number))
    return found


@route("GET /repos/{repo}/commits/{ref*}", grant="contents:read")
def get_commit(call: Call, ref: str) -> Json:
    record = call.repo.git.commits(call.repo.commit(ref), "-1")[0]
    empty = call.repo.git("hash-object", "-t", "tree", "--stdin")
    files = file_answers(call.repo, [record["parents"][0] if record["parents"] else empty, record["sha"]])
    added, deleted = (sum(file[kind] for file in files) for kind in ("additions", "deletions"))
    stats = {"total": added + deleted, "additions": added, "deletions": deleted}
    return {**call.state.commit_answer(call.repo, record), "stats": stats, "files": files}


def file_answers(repo: Repo, between: list[str]) -> list[Json]:
    page = repo.info["html_url"]
    return [
        {
            **file,
            "blob_url": f"{page}/blob/{between[1]}/{quote(file['filename'])}",
            "raw_url": f"{page}/raw/{between[1]}/{quote(file['filename'])}",
            "contents_url": f"{repo.api}/contents/{quote(file['filename'])}?ref={between[1]}",
        }
        for file in repo.git.files(*between)
    ]


@route("GET /repos/{repo}/compare/{spec*}", grant="contents:read")
def compare(call: Call, spec: str) -> Json:
    git = call.repo.git
    names = spec.split("...")
    repos = [pulls.fork_of(call.state, call.repo, name.rpartition(":")[0] or call.repo.owner) for name in names]
    shas = [repo.git.resolve(name.rpartition(":")[2]) for repo, name in zip(repos, names, strict=True) if repo]
    if len(shas) != 2 or not all(shas):
        raise Refused(404, "Not Found")
    base, head = map(str, shas)
    if repos[1] and repos[1] is not call.repo:
        git("fetch", "--quiet", str(repos[1].git.path.resolve()), head)
    fork_point = git("merge-base", base, head)
    ahead = git.commits(f"{base}..{head}")[::-1]
    behind = int(git("rev-list", "--count", f"{head}..{base}"))
    status = {(False, False): "identical", (True, False): "ahead", (False, True): "behind"}
    page = f"{call.repo.info['html_url']}/compare/{spec}"
    return {
        "url": f"{call.repo.api}/compare/{spec}",
        **{"html_url": page, "permalink_url": page, "diff_url": f"{page}.diff", "patch_url": f"{page}.patch"},
        "base_commit": one_commit(call, base),
        "merge_base_commit": one_commit(call, fork_point),
        "status": status.get((bool(ahead), bool(behind)), "diverged"),
        **{"ahead_by": len(ahead), "behind_by": behind, "total_commits": len(ahead)},
        "commits": [call.state.commit_answer(call.repo, record) for record in ahead],
        "files": file_answers(call.repo, [fork_point, head]),
    }


def ref_answer(call: Call, ref: str, sha: str) -> Json:
    kind = call.repo.git("cat-file", "-t", sha)
    target = {"type": kind, "sha": sha, "url": f"{call.repo.api}/git/{kind}s/{sha}"}
    return {"ref": ref, "node_id": f"REF_{ref}", "url": f"{call.repo.api}/git/{ref}", "object": target}


@route("GET /repos/{repo}/git/ref/{ref*}", grant="contents:read")
def get_ref(call: Call, ref: str) -> Json:
    found = call.repo.git.refs(f"refs/{ref}")
    if f"refs/{ref}" not in found:
        raise Refused(404, "Not Found")
    return ref_answer(call, f"refs/{ref}", found[f"refs/{ref}"])


@route("GET /repos/{repo}/git/matching-refs/{ref*}", grant="contents:read")
def list_matching_refs(call: Call, ref: str) -> list[Json]:
    found = call.repo.git.refs()
    return [ref_answer(call, name, sha) for name, sha in found.items() if name.startswith(f"refs/{ref}")]


def move(call: Call, ref: str, sha: str | None) -> None:
    """Point a ref elsewhere, unless a rule protects it or it would change workflows without the permission."""
    if message := rules.refusal(call.state, call.repo, call.actor, ref, sha):
        raise Refused(422, f"Repository rule violations found\n\n{message}\n\n")
    if sha and not call.actor.writes_workflows and call.repo.git.changes_workflows(sha):
        raise Refused(403, "Resource not accessible by integration")
    with pulls.refs_moving(call.state, call.repo, call.actor):
        call.repo.git.update(ref, sha)


@route("POST /repos/{repo}/git/refs", grant="contents:write")
def create_ref(call: Call) -> Json:
    body = call.need("Reference", "ref", "sha")
    if not re.fullmatch(r"refs/[^/]+/.+", body["ref"]):
        raise Refused(422, "Reference name is not valid. It should start with 'refs/' and have at least two slashes.")
    if body["ref"] in call.repo.git.refs(body["ref"]):
        raise Refused(422, "Reference already exists")
    if not call.repo.git.resolve(body["sha"]):
        raise Refused(422, "Object does not exist")
    move(call, body["ref"], body["sha"])
    return ref_answer(call, body["ref"], body["sha"])


@route("PATCH /repos/{repo}/git/refs/{ref*}", grant="contents:write")
def update_ref(call: Call, ref: str) -> Json:
    body, name = call.need("Reference", "sha"), f"refs/{ref}"
    old = call.repo.git.resolve(name)
    if not old:
        raise Refused(422, "Reference does not exist")
    if not call.repo.git.resolve(body["sha"]):
        raise Refused(422, "Object does not exist")
    if not body.get("force") and not call.repo.git.is_ancestor(old, body["sha"]):
        raise Refused(422, "Update is not a fast forward")
    move(call, name, body["sha"])
    return ref_answer(call, name, body["sha"])


@route("DELETE /repos/{repo}/git/refs/{ref*}", grant="contents:write")
def delete_ref(call: Call, ref: str) -> None:
    if not call.repo.git.resolve(f"refs/{ref}"):
        raise Refused(422, "Reference does not exist")
    move(call, f"refs/{ref}", None)


@route("POST /repos/{repo}/git/blobs", grant="contents:write")
def create_blob(call: Call) -> Json:
    body = call.need("Blob")
    content = body.get("content", "")
    sha = call.repo.git.blob(base64.b64decode(content) if body.get("encoding") == "base64" else content.encode())
    return {"sha": sha, "url": f"{call.repo.api}/git/blobs/{sha}"}


@route("GET /repos/{repo}/git/blobs/{sha}", grant="contents:read")
def get_blob(call: Call, sha: str) -> Any:
    content = call.repo.git.read(sha)
    if call.raw:
        return Answer(200, content)
    shown = {"content": base64.encodebytes(content).decode(), "encoding": "base64", "size": len(content)}
    return {"sha": sha, "node_id": f"B_{sha}", "url": f"{call.repo.api}/git/blobs/{sha}", **shown}


@route("POST /repos/{repo}/git/trees", grant="contents:write")
def create_tree(call: Call) -> Json:
    body = call.need("Tree", "tree")
    git, base = call.repo.git, body.get("base_tree")
    changes = [
        {**entry, "sha": git.blob(entry["content"].encode()) if "content" in entry else entry["sha"]}
        for entry in body["tree"]
    ]
    return tree_answer(call, git.tree_with(base, changes))


@route("GET /repos/{repo}/git/trees/{sha*}", grant="contents:read")
def get_tree(call: Call, sha: str) -> Json:
    return tree_answer(call, sha, *(["-r", "-t"] if "recursive" in call.query else []))


def tree_answer(call: Call, name: str, *options: str) -> Json:
    url = f"{call.repo.api}/git"
    sha = call.repo.git("rev-parse", "--verify", "--end-of-options", f"{name}^{{tree}}")
    entries = [entry | {"url": f"{url}/{entry['type']}s/{entry['sha']}"} for entry in call.repo.git.tree(sha, *options)]
    return {"sha": sha, "url": f"{url}/trees/{sha}", "tree": entries, "truncated": False}


@route("POST /repos/{repo}/git/commits", grant="contents:write")
def create_commit(call: Call) -> Json:
    body = call.need("Commit", "message", "tree")
    sha = make_commit(call, body["tree"], body.get("parents", []), body)
    return get_git_commit(call, sha)


def make_commit(call: Call, tree: str, parents: list[str], body: Json) -> str:
    """A commit in the actor's name; where nobody else is named, GitHub is the committer and signs it."""
    own = call.state.identity(call.actor.login)
    author = body.get("author") or own
    committer = body.get("committer") or body.get("author") or call.state.committer
    return call.repo.git.commit(tree, parents, body["message"], author, committer)


@route("GET /repos/{repo}/git/commits/{sha}", grant="contents:read")
def get_git_commit(call: Call, sha: str) -> Json:
    return answers.git_commit(call.repo.info, call.repo.git.commits(call.repo.commit(sha), "-1")[0])


@route("GET /repos/{repo}/contents/{path*}", "GET /repos/{repo}/contents", grant="contents:read")
def get_contents(call: Call, path: str = "") -> Any:
    commit = call.repo.git.resolve(call.query.get("ref") or call.repo.info["default_branch"])
    found = find(call.repo, commit, path) if commit and path else {"type": "tree"}
    if not commit or not found:
        raise Refused(404, "Not Found")
    if found["type"] == "tree":
        inside = call.repo.git.tree(f"{commit}:{path}")
        return [content_answer(call, entry, f"{path}/{entry['path']}".lstrip("/"), commit) for entry in inside]
    content = call.repo.git.read(found["sha"])
    if call.raw:
        return Answer(200, content)
    encoded = {"encoding": "base64", "content": base64.encodebytes(content).decode()}
    return content_answer(call, found, path, commit) | encoded


def find(repo: Repo, commit: str, path: str) -> Json | None:
    return next(iter(repo.git.tree(commit, path=path.rstrip("/"))), None)


def content_answer(call: Call, entry: Json, path: str, commit: str) -> Json:
    page, place = call.repo.info["html_url"], f"{commit}/{quote(path)}"
    links = {
        "self": f"{call.repo.api}/contents/{quote(path)}?ref={commit}",
        "git": f"{call.repo.api}/git/{entry['type']}s/{entry['sha']}",
        "html": f"{page}/blob/{place}",
    }
    return {
        "type": {"tree": "dir", "blob": "file"}[entry["type"]],
        "size": entry.get("size", 0),
        "name": path.rpartition("/")[2],
        "path": path,
        "sha": entry["sha"],
        **{"url": links["self"], "git_url": links["git"], "html_url": links["html"]},
        "download_url": f"{page}/raw/{place}",
        "_links": links,
    }


@route("PUT /repos/{repo}/contents/{path*}", "DELETE /repos/{repo}/contents/{path*}", grant="contents:write")
def change_contents(call: Call, path: str) -> Answer:
    body, git = call.need("Contents", "message"), call.repo.git
    branch = body.get("branch") or call.repo.info["default_branch"]
    tip = git.resolve(f"refs/heads/{branch}")
    if not tip:
        raise Refused(404, f"Branch {branch} not found")
    if message := rules.refusal(call.state, call.repo, call.actor, f"refs/heads/{branch}", tip):
        raise Refused(409, f"Repository rule violations found\n\n{message}\n\n")
    old = find(call.repo, tip, path)
    if old and "sha" not in body:
        raise Refused(422, 'Invalid request.\n\n"sha" wasn\'t supplied.')
    if "sha" in body and (not old or old["sha"] != body["sha"]):
        raise Refused(409, f"{path} does not match {body['sha']}")
    sha = git.blob(base64.b64decode(body["content"])) if call.method == "PUT" else None
    tree = git.tree_with(tip, [{"path": path, "mode": old["mode"] if old else "100644", "sha": sha}])
    commit = make_commit(call, tree, [tip], body)
    move(call, f"refs/heads/{branch}", commit)
    entry = find(call.repo, commit, path)
    shown = content_answer(call, entry, path, commit) if entry else None
    return Answer(200 if old else 201, {"content": shown, "commit": get_git_commit(call, commit)})
