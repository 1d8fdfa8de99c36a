"""Issues, comments and labels, of pull requests too."""

from typing import Any
from urllib.parse import quote

from .. import pulls
from ..answers import Json
from ..state import ROLES, Refused, invalid, login_of, present
from .routing import Answer, Call, in_order, route, serve_rows

serve_rows("issues/comments", "comments", "issues|pull_requests")


@route("GET /repos/{repo}/issues", grant="issues:read")
def list_issues(call: Call) -> list[Json]:
    query = call.query
    labels = set(filter(None, query.get("labels", "").split(",")))
    return in_order(
        call,
        [
            issue
            for issue in call.repo.rows("issues")
            if query.get("state", "open") in ("all", issue["state"])
            and labels <= {label["name"] for label in issue["labels"]}
            and query.get("creator") in (None, login_of(issue["user"]))
            and issue["updated_at"] >= query.get("since", "")
        ],
    )


@route("POST /repos/{repo}/issues", grant="issues:join")
def create_issue(call: Call) -> Json:
    body, number = call.need("Issue", "title"), next(call.repo.numbers)
    issue = pulls.new_issue(call.state, call.repo, call.actor, number, body)
    issue["labels"] = [label_named(call, each) for each in body.get("labels", [])]
    assign(call, issue, body)
    tell(call, number, "opened")
    return issue


@route("GET /repos/{repo}/issues/{number}", grant="issues:read")
def get_issue(call: Call, number: int) -> Json:
    return call.repo.row("issues", number)


@route("PATCH /repos/{repo}/issues/{number}", grant="issues:write")
def update_issue(call: Call, number: int) -> Json:
    return update_issue_row(call, number, call.need("Issue"))


def update_issue_row(call: Call, number: int, body: Json) -> Json:
    """Title, body, labels, assignees and state, of an issue or a pull request, each change told."""
    issue, pull = call.repo.row("issues", number), call.repo.tables["pulls"].get(number)
    edits: Json = {name: body[name] for name in ("title", "body") if name in body and body[name] != issue[name]}
    if edits:
        changes = {name: {"from": issue[name]} for name in edits}
        issue |= edits
        tell(call, number, "edited", changes=changes)
    issue["updated_at"] = call.state.now()
    assign(call, issue, body)
    if "labels" in body:
        set_labels(call, number, [label_named(call, each) for each in body["labels"]])
    if body.get("state", issue["state"]) == issue["state"]:
        return issue
    if body["state"] == "open":
        reopen(call, issue, pull)
    elif pull:
        pulls.close(call.state, call.repo, pull, call.actor)
    else:
        pulls.mark_closed(call.state, issue, call.actor, body.get("state_reason", "completed"))
        tell(call, number, "closed")
    return issue


def reopen(call: Call, issue: Json, pull: Json | None) -> None:
    if pull:
        head_repo = call.state.repositories[pull["head"]["repo"]["full_name"]]
        if pull["merged"] or not head_repo.git.resolve(f"refs/heads/{pull['head']['ref']}"):
            raise invalid("PullRequest", "state", "custom", "state cannot be changed. The branch was deleted.")
        for other in call.repo.rows("pulls"):
            twin = other["head"]["label"] == pull["head"]["label"] and other["base"]["ref"] == pull["base"]["ref"]
            if twin and call.repo.row("issues", other["number"])["state"] == "open":
                message = f"state cannot be changed. There is already an open pull request for {pull['head']['label']}."
                raise invalid("PullRequest", "state", "custom", message)
    issue |= {"state": "open", "state_reason": "reopened", "closed_at": None, "closed_by": None}
    if pull:
        pulls.follow(call.state, call.repo, pull, call.actor)
    tell(call, issue["number"], "reopened")


def tell(call: Call, number: int, action: str, **more: Any) -> None:
    """An `issues` or a `pull_request` event."""
    if number in call.repo.tables["pulls"]:
        pulls.tell(call.state, call.repo, call.repo.row("pulls", number), call.actor, action, **more)
    else:
        call.emit("issues", action=action, issue=call.repo.row("issues", number), **more)


def assign(call: Call, issue: Json, body: Json) -> None:
    if "assignees" in body:
        issue["assignees"] = [call.state.account(login) for login in body["assignees"] if login in call.repo.roles]
        issue["assignee"] = next(iter(issue["assignees"]), None)


@route("GET /repos/{repo}/issues/{number}/comments", grant="issues:read")
def list_comments(call: Call, number: int) -> list[Json]:
    return call.repo.rows("comments", issue_url=call.repo.row("issues", number)["url"])


@route("GET /repos/{repo}/issues/{number}/timeline", grant="issues:read")
def list_timeline(call: Call, number: int) -> list[Json]:
    """What a merge queue did with it, and changes of its base; of the rest of a timeline there is nothing here."""
    return call.repo.rows("timeline", issue_url=call.repo.row("issues", number)["url"])


@route("POST /repos/{repo}/issues/{number}/comments", grant="issues:join")
def create_comment(call: Call, number: int) -> Json:
    body, issue = call.need("IssueComment", "body"), call.repo.row("issues", number)
    fields = {
        **{"body": body["body"], "body_html": "", "body_text": body["body"]},
        **{"user": call.user(), "issue_url": issue["url"], "author_association": "MEMBER"},
    }
    page = f"{issue['html_url'].removeprefix(call.repo.info['html_url'] + '/')}#issuecomment-{{id}}"
    comment = call.state.new(call.repo, "comments", "issues/comments/{id}", fields, page)
    issue["comments"] += 1
    call.emit("issue_comment", action="created", issue=issue, comment=comment)
    return comment


def own_comment(call: Call, id: int) -> Json:
    """A comment that the actor may change: the author, or somebody with write access."""
    comment = call.repo.row("comments", id)
    strong = call.actor.permissions is not None or call.state.level(call.repo, call.actor) >= ROLES.index("write")
    if login_of(comment["user"]) != call.actor.login and not strong:
        raise Refused(403, "Must have admin rights to Repository.")
    return comment


@route("PATCH /repos/{repo}/issues/comments/{id}", grant="issues|pull_requests:join")
def update_comment(call: Call, id: int) -> Json:
    comment, text = own_comment(call, id), call.need("IssueComment", "body")["body"]
    comment |= {"body": text, "body_text": text, "updated_at": call.state.now()}
    return comment


@route("DELETE /repos/{repo}/issues/comments/{id}", grant="issues|pull_requests:join")
def delete_comment(call: Call, id: int) -> None:
    comment = own_comment(call, id)
    call.repo.row("issues", int(comment["issue_url"].rpartition("/")[2]))["comments"] -= 1
    del call.repo.tables["comments"][id]


@route("GET /repos/{repo}/labels", grant="issues|pull_requests:read")
def list_labels(call: Call) -> list[Json]:
    return call.repo.rows("labels")


@route("POST /repos/{repo}/labels", grant="issues|pull_requests:write")
def create_label(call: Call) -> Json:
    body = call.need("Label", "name")
    if call.repo.rows("labels", name=body["name"]):
        raise invalid("Label", "name", "already_exists")
    return new_label(call, **present(body, ("name", "color", "description")))


def new_label(call: Call, **fields: Any) -> Json:
    defaults = {"color": "ededed", "description": None, "default": False, "archived_at": None, "archived_by": None}
    return call.state.new(call.repo, "labels", f"labels/{quote(fields['name'])}", defaults | fields)


def label_named(call: Call, label: str | Json) -> Json:
    name = label if isinstance(label, str) else label["name"]
    return next(iter(call.repo.rows("labels", name=name)), None) or new_label(call, name=name)


@route("GET /repos/{repo}/labels/{name*}", grant="issues|pull_requests:read")
def get_label(call: Call, name: str) -> Json:
    found = call.repo.rows("labels", name=name)
    if not found:
        raise Refused(404, "Not Found")
    return found[0]


@route("DELETE /repos/{repo}/labels/{name*}", grant="issues|pull_requests:write")
def delete_label(call: Call, name: str) -> None:
    del call.repo.tables["labels"][get_label(call, name)["id"]]


@route("GET /repos/{repo}/issues/{number}/labels", grant="issues:read")
def list_issue_labels(call: Call, number: int) -> list[Json]:
    return list(call.repo.row("issues", number)["labels"])


@route("POST /repos/{repo}/issues/{number}/labels", grant="issues:write")
def add_labels(call: Call, number: int) -> Answer:
    had = call.repo.row("issues", number)["labels"]
    return Answer(200, set_labels(call, number, had + [label_named(call, each) for each in call.body["labels"]]))


@route("PUT /repos/{repo}/issues/{number}/labels", grant="issues:write")
def replace_labels(call: Call, number: int) -> list[Json]:
    return set_labels(call, number, [label_named(call, each) for each in call.body["labels"]])


@route("DELETE /repos/{repo}/issues/{number}/labels/{name*}", grant="issues:write")
def remove_label(call: Call, number: int, name: str) -> list[Json]:
    had = call.repo.row("issues", number)["labels"]
    kept = [label for label in had if label["name"] != name]
    if len(kept) == len(had):
        raise Refused(404, "Label does not exist")
    return set_labels(call, number, kept)


def set_labels(call: Call, number: int, labels: list[Json]) -> list[Json]:
    issue = call.repo.row("issues", number)
    before = {label["name"]: label for label in issue["labels"]}
    after = {label["name"]: label for label in labels}
    issue |= {"labels": list(after.values()), "updated_at": call.state.now()}
    for name in sorted({*before} ^ {*after}):
        action = "labeled" if name in after else "unlabeled"
        tell(call, number, action, label=after.get(name) or before[name])
    return list(after.values())
