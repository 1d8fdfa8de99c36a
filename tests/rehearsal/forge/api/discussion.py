"""Pull requests, reviews, issues, comments and labels."""

from typing import Any
from urllib.parse import quote

from .. import pulls, rules
from ..answers import Json
from ..state import ROLES, Refused, Repo, invalid, present
from .objects import file_answers, make_commit
from .routing import Answer, Call, route, serve_rows

serve_rows("issues/comments", "comments", "issues|pull_requests")


@route("GET /repos/{repo}/pulls", grant="pull_requests:read")
def list_pulls(call: Call) -> list[Json]:
    query, found = call.query, []
    for number, pull in call.repo.tables["pulls"].items():
        same_state = query.get("state", "open") in ("all", call.repo.row("issues", number)["state"])
        same_head = query.get("head") in (None, "", pull["head"]["label"])
        if same_state and same_head and query.get("base") in (None, "", pull["base"]["ref"]):
            found.append(pulls.view(call.state, call.repo, number))
    return in_order(call, found)


def in_order(call: Call, rows: list[Json]) -> list[Json]:
    """By creation or by what `sort` names, newest first unless `direction` says otherwise."""
    key = "updated_at" if call.query.get("sort") == "updated" else "created_at"
    descending = call.query.get("direction", "desc") == "desc"
    return sorted(rows, key=lambda row: (row[key], row["id"]), reverse=descending)


@route("POST /repos/{repo}/pulls", grant="pull_requests:join")
def create_pull(call: Call) -> Json:
    return pulls.create(call.state, call.repo, call.actor, call.need("PullRequest", "title", "head", "base"))


@route("GET /repos/{repo}/pulls/{number}", grant="pull_requests:read")
def get_pull(call: Call, number: int) -> Json:
    return pulls.view(call.state, call.repo, number, full=True)


@route("PATCH /repos/{repo}/pulls/{number}", grant="pull_requests:write")
def update_pull(call: Call, number: int) -> Json:
    body, pull = call.need("PullRequest"), call.repo.row("pulls", number)
    if body.get("base") and body["base"] != pull["base"]["ref"]:
        sha = call.repo.git.resolve(f"refs/heads/{body['base']}")
        if not sha:
            raise invalid("PullRequest", "base", "invalid")
        pull["base"] = pulls.side(call.state, call.repo, body["base"], sha)
        pulls.judge(call.state, call.repo, pull)
    update_issue_row(call, number, body)
    return get_pull(call, number)


@route("PUT /repos/{repo}/pulls/{number}/merge", grant="contents:write")
def merge_pull(call: Call, number: int) -> Json:
    return pulls.merge(call.state, call.repo, call.actor, number, call.body)


@route("GET /repos/{repo}/pulls/{number}/merge", grant="pull_requests:read")
def is_merged(call: Call, number: int) -> None:
    if not call.repo.row("pulls", number)["merged"]:
        raise Refused(404, "Not Found")


@route("PUT /repos/{repo}/pulls/{number}/update-branch", grant="pull_requests:write")
def update_branch(call: Call, number: int) -> Answer:
    pull = call.repo.row("pulls", number)
    base, head = pull["base"], pull["head"]
    if call.body.get("expected_head_sha", head["sha"]) != head["sha"]:
        raise Refused(422, "expected head sha didn’t match current head ref.")
    head_repo = call.state.repositories[head["repo"]["full_name"]]
    tree = call.repo.git.merged_tree(head["sha"], base["sha"])
    if not tree:
        raise Refused(422, "merge conflict between base and head")
    message = f"Merge branch '{base['ref']}' into {head['ref']}"
    sha = make_commit(call, tree, [head["sha"], base["sha"]], {"message": message})
    if head_repo is not call.repo:
        call.repo.git.update(f"refs/pull/{number}/head", sha)
        head_repo.git("fetch", "--quiet", str(call.repo.git.path.resolve()), f"refs/pull/{number}/head")
    with pulls.refs_moving(call.state, head_repo, call.actor):
        head_repo.git.update(f"refs/heads/{head['ref']}", sha)
    return Answer(202, {"message": "Updating pull request branch.", "url": pull["html_url"]})


@route("GET /repos/{repo}/pulls/{number}/files", grant="pull_requests:read")
def list_pull_files(call: Call, number: int) -> list[Json]:
    return file_answers(call.repo, [*rules.compared(call.repo, call.repo.row("pulls", number))])


@route("GET /repos/{repo}/pulls/{number}/commits", grant="pull_requests:read")
def list_pull_commits(call: Call, number: int) -> list[Json]:
    records = call.repo.git.commits(pulls.span(call.repo.row("pulls", number)))
    return [call.state.commit_answer(call.repo, record) for record in records[::-1]]


@route("GET /repos/{repo}/pulls/{number}/reviews", grant="pull_requests:read")
def list_reviews(call: Call, number: int) -> list[Json]:
    return call.repo.rows("reviews", pull_request_url=call.repo.row("pulls", number)["url"])


@route("POST /repos/{repo}/pulls/{number}/reviews", grant="pull_requests:join")
def create_review(call: Call, number: int) -> Answer:
    body, pull, issue = call.need("PullRequestReview"), call.repo.row("pulls", number), call.repo.row("issues", number)
    verdict = body.get("event", "PENDING")
    states = {"APPROVE": "APPROVED", "REQUEST_CHANGES": "CHANGES_REQUESTED", "COMMENT": "COMMENTED"}
    if verdict == "APPROVE" and call.actor.is_actions and not actions_may_approve(call.repo):
        raise Refused(422, "Unprocessable Entity", "GitHub Actions is not permitted to approve pull requests.")
    if verdict != "COMMENT" and issue["user"]["login"] == call.actor.login:
        word = "approve" if verdict == "APPROVE" else "request changes on"
        raise Refused(422, "Unprocessable Entity", f"Can not {word} your own pull request")
    page = f"pull/{number}#pullrequestreview-{{id}}"
    fields = {
        "user": call.user(),
        "body": body.get("body") or "",
        **{"body_html": "", "body_text": body.get("body") or ""},
        "state": states.get(verdict, "PENDING"),
        "pull_request_url": pull["url"],
        "author_association": "MEMBER",
        "commit_id": body.get("commit_id") or pull["head"]["sha"],
        "submitted_at": call.state.now(),
    }
    review = call.state.new(call.repo, "reviews", f"pulls/{number}/reviews/{{id}}", fields, page)
    review["_links"] = {"html": {"href": review["html_url"]}, "pull_request": {"href": pull["url"]}}
    waiting = pull["requested_reviewers"]
    pull["requested_reviewers"] = [user for user in waiting if user["login"] != call.actor.login]
    shown = {"review": review, "pull_request": pulls.view(call.state, call.repo, number)}
    call.emit("pull_request_review", f"refs/pull/{number}/merge", pull["merge_commit_sha"], action="submitted", **shown)
    return Answer(200, review)


def actions_may_approve(repo: Repo) -> bool:
    return bool(repo.workflow_permissions["can_approve_pull_request_reviews"])


@route("PUT /repos/{repo}/pulls/{number}/reviews/{id}/dismissals", grant="pull_requests:write")
def dismiss_review(call: Call, number: int, id: int) -> Json:
    call.repo.row("reviews", id)["state"] = "DISMISSED"
    return call.repo.row("reviews", id)


REVIEWERS = ("reviewers", "team_reviewers")


@route("GET /repos/{repo}/pulls/{number}/requested_reviewers", grant="pull_requests:read")
def list_requested_reviewers(call: Call, number: int) -> Json:
    pull = call.repo.row("pulls", number)
    return {"users": pull["requested_reviewers"], "teams": pull["requested_teams"]}


@route("POST /repos/{repo}/pulls/{number}/requested_reviewers", grant="pull_requests:write")
def request_reviewers(call: Call, number: int) -> Json:
    pull, author = call.repo.row("pulls", number), call.repo.row("issues", number)["user"]["login"]
    people, teams = (call.body.get(key, []) for key in REVIEWERS)
    strangers = [login for login in people if login not in call.repo.roles]
    if strangers or any(f"{call.repo.owner}/{team}" not in call.state.teams for team in teams):
        who = "One or more of the users or teams you specified is not a collaborator of the"
        raise Refused(422, f"Reviews may only be requested from collaborators. {who} {call.repo.name} repository.")
    if author in people:
        raise Refused(422, "Review cannot be requested from pull request author.")
    asked = [user["login"] for user in pull["requested_reviewers"]]
    pull["requested_reviewers"] += [call.state.account(login) for login in people if login not in asked]
    known = [team["slug"] for team in pull["requested_teams"]]
    pull["requested_teams"] += [team_answer(call, team) for team in teams if team not in known]
    pulls.tell(call.state, call.repo, pull, call.actor, "review_requested")
    return pulls.view(call.state, call.repo, number)


@route("DELETE /repos/{repo}/pulls/{number}/requested_reviewers", grant="pull_requests:write")
def remove_requested_reviewers(call: Call, number: int) -> Json:
    pull, gone, teams = (call.repo.row("pulls", number), *(call.body.get(key, []) for key in REVIEWERS))
    pull["requested_reviewers"] = [user for user in pull["requested_reviewers"] if user["login"] not in gone]
    pull["requested_teams"] = [team for team in pull["requested_teams"] if team["slug"] not in teams]
    return pulls.view(call.state, call.repo, number)


def team_answer(call: Call, slug: str) -> Json:
    url, number = f"{call.state.api_url}/orgs/{call.repo.owner}/teams/{slug}", next(call.state.ids)
    return {
        **{"id": number, "node_id": f"T_{number}", "name": slug, "slug": slug, "description": "", "parent": None},
        **{"privacy": "closed", "notification_setting": "notifications_enabled", "permission": "push"},
        **{"url": url, "html_url": f"{call.state.url}/orgs/{call.repo.owner}/teams/{slug}"},
        **{"members_url": url + "/members{/member}", "repositories_url": f"{url}/repos", "type": "organization"},
        "organization_id": call.repo.info["owner"]["id"],
    }


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
            and query.get("creator") in (None, issue["user"]["login"])
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
    if comment["user"]["login"] != call.actor.login and not strong:
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
