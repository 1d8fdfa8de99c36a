"""Pull requests, their reviews and reviewers."""

from .. import pulls, rules
from ..answers import Json
from ..state import Refused, Repo, invalid, login_of
from .issues import update_issue_row
from .objects import file_answers, make_commit
from .routing import Answer, Call, in_order, route


@route("GET /repos/{repo}/pulls", grant="pull_requests:read")
def list_pulls(call: Call) -> list[Json]:
    query, found = call.query, []
    for number, pull in call.repo.tables["pulls"].items():
        same_state = query.get("state", "open") in ("all", call.repo.row("issues", number)["state"])
        same_head = query.get("head") in (None, "", pull["head"]["label"])
        if same_state and same_head and query.get("base") in (None, "", pull["base"]["ref"]):
            found.append(pulls.view(call.state, call.repo, number))
    return in_order(call, found)


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
        pulls.retarget(call.state, call.repo, pull, call.actor, body["base"], "base_ref_changed")
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
    if verdict != "COMMENT" and login_of(issue["user"]) == call.actor.login:
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
    pull, author = call.repo.row("pulls", number), login_of(call.repo.row("issues", number)["user"])
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
    pull["requested_teams"] += [pulls.team(call.state, call.repo, team) for team in teams if team not in known]
    pulls.tell(call.state, call.repo, pull, call.actor, "review_requested")
    return pulls.view(call.state, call.repo, number)


@route("DELETE /repos/{repo}/pulls/{number}/requested_reviewers", grant="pull_requests:write")
def remove_requested_reviewers(call: Call, number: int) -> Json:
    pull, gone, teams = (call.repo.row("pulls", number), *(call.body.get(key, []) for key in REVIEWERS))
    pull["requested_reviewers"] = [user for user in pull["requested_reviewers"] if user["login"] not in gone]
    pull["requested_teams"] = [team for team in pull["requested_teams"] if team["slug"] not in teams]
    return pulls.view(call.state, call.repo, number)
