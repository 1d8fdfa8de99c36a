"""All that is said to GitHub, by github3.py: the one place that knows its API.

GitHub fails at times, and a run can be killed between any two calls. So what writes is a reconcile: it looks first,
writes what is missing, and run again from its top it ends in the same state; `persist` runs it again.
"""

import base64
import io
import lzma
import os
import re
import subprocess
import time
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import requests
from github3.exceptions import (
    ForbiddenError,
    GitHubError,
    GitHubException,
    NotFoundError,
    UnprocessableEntity,
    error_for,
)
from github3.session import GitHubSession

from gitops.content import FILE, Tree, git, tree
from gitops.content import key as content_key

BOT = "github-actions[bot]"  # who acts with a workflow's own token
LABEL = "gitops"  # of the issues that gitops keeps
TRIES = 6
LONGEST = 120.0  # seconds that a fault is waited for: a job ends after minutes
PAUSE = 1.0  # seconds before the second try, doubled before each further one
LIMITED = re.compile("rate limit|abuse detection", re.IGNORECASE)  # in a refusal that need not say how long it lasts
UNTOLD = 60.0  # seconds that GitHub asks for where it does not say how long
LOOKS = 6  # pauses before a merge that GitHub does not know of is none: a minute in all
YOUNG = 600.0  # seconds since a commit was made, in which GitHub may not know yet what merged it
LATE = 6 * 3600.0  # seconds after its event in which a run may yet start, in an outage of GitHub's
GONE = 410
PASSING = (requests.ConnectionError, requests.Timeout, requests.exceptions.ChunkedEncodingError)
LARGEST = 2 * 1024**3  # bytes of an artifact, packed and unpacked: as many as GitHub takes in a Release's asset
MEMBERS = 1000  # files in it
UNTRUSTED = "CERTIFICATE_VERIFY_FAILED"  # in a connection error that lasts
DUPLICATE = "The same as #{}."

T = TypeVar("T")
Json = dict[str, Any]


class BadAnswer(GitHubException):
    """An answer that GitHub would not give; another try would bring the same."""


class Answer(dict[str, Any]):
    """An object of an answer, that names a field which is not there."""

    def __missing__(self, field: str) -> Any:
        raise BadAnswer(f"an answer has no field `{field}`, only {', '.join(self) or 'none'}")


class Owner(NamedTuple):
    """A person or an organisation."""

    login: str
    type: str  # User or Organization


class Repository(NamedTuple):
    """The repository that is asked, and what is read of it; github3's class wants every field that it knows."""

    session: GitHubSession
    url: str
    html_url: str
    id: int
    full_name: str
    default_branch: str
    owner: Owner
    allow_auto_merge: bool | None  # None where the token may not see it
    has_issues: bool


class Proposal(NamedTuple):
    """The one open pull request of a branch; without a number, the issue that asks people to open it."""

    number: int | None
    url: str


# --- asking ----------------------------------------------------------------------------------------------------------


def repository(environment: Mapping[str, str] = os.environ) -> Repository:
    """This repository, by the token and the address that the workflow gives."""
    session = GitHubSession()
    session.base_url = environment["GITHUB_API_URL"]
    session.token_auth(environment["GITHUB_TOKEN"])
    url = session.build_url("repos", environment["GITHUB_REPOSITORY"])
    told = persist(lambda: said(session.get(url)))
    return Repository(
        session=session,
        **{field: told[field] for field in ("url", "html_url", "id", "full_name", "default_branch")},
        owner=Owner(told["owner"]["login"], told["owner"]["type"]),
        allow_auto_merge=told.get("allow_auto_merge"),
        has_issues=told.get("has_issues", True),
    )


def bots(environment: Mapping[str, str] = os.environ) -> set[str]:
    """Who speaks for gitops: the workflow's own token, and the App where there is one. Anybody can write a marker."""
    return {BOT, environment.get("GITOPS_BOT") or BOT}


def persist(action: Callable[[], T]) -> T:
    """Runs a reconcile from its top until no passing fault ends it: an outage, a rate limit, a lost race.

    Raises the last fault after TRIES, and at once what another try cannot mend.
    """
    for again in range(TRIES - 1):
        try:
            return action()
        except (GitHubException, requests.RequestException) as error:
            wait = pause(error, again)
            if wait is None:
                raise
            print(f"GitHub: {error}; again in {wait:.0f} s")
            time.sleep(wait)
    return action()


def pause(error: Exception, again: int) -> float | None:
    """Seconds to wait before another try, as GitHub asks or longer each time; None where another try is in vain."""
    answer, own = getattr(error, "response", None), PAUSE * 2**again
    if answer is None:
        return own if isinstance(error, PASSING) and UNTRUSTED not in str(error) else None
    status, asked = answer.status_code, seconds(answer.headers.get("Retry-After"))
    if status >= 500 or status in (408, 409, 422):
        wait = asked or 0
    elif status not in (403, 429):
        return None
    elif asked is not None:
        wait = asked
    elif answer.headers.get("X-RateLimit-Remaining") == "0":
        wait = float(answer.headers.get("X-RateLimit-Reset") or 0) - datetime.now(UTC).timestamp()
    elif status == 429 or LIMITED.search(answer.text):
        wait = UNTOLD
    else:
        return None
    return min(max(wait, own), LONGEST)


def seconds(header: str | None) -> float | None:
    """The seconds that a Retry-After asks for, as a number or until a date; None where it holds neither."""
    if not header or header.isdecimal():
        return float(header) if header else None
    try:
        return parsedate_to_datetime(header).timestamp() - datetime.now(UTC).timestamp()
    except ValueError:
        return None


def checked(answer: requests.Response) -> requests.Response:
    """The answer. Raises as github3 does where it is a refusal."""
    if not answer.ok:
        raise error_for(answer)
    return answer


def said(answer: requests.Response) -> Any:
    """What an answer says; None where it is empty. Raises as github3 does, and BadAnswer where it is not GitHub's."""
    checked(answer)
    try:
        return answer.json(object_hook=Answer) if answer.content else None
    except requests.JSONDecodeError:
        raise BadAnswer(f"{answer.url} answers with no JSON: is that GitHub's API, and no proxy's page?") from None


def ask(here: Repository, method: str, path: str, body: Any = None, **query: Any) -> Any:
    """GitHub's answer to a call below the repository. Raises as `said` does."""
    return said(here.session.request(method, f"{here.url}/{path}", json=body, params=query or None))


def found(here: Repository, path: str, **query: Any) -> Any:
    """What `ask` gets, or None where there is nothing."""
    try:
        return ask(here, "GET", path, **query)
    except NotFoundError:
        return None


def pages(here: Repository, path: str, field: str = "", **query: Any) -> Iterator[Json]:
    """The items of a listing, page by page."""
    url: str | None = f"{here.url}/{path}"
    parameters: Json | None = {"per_page": 100, **query}
    while url:
        answer = here.session.get(url, params=parameters)
        items = said(answer)
        yield from items[field] if field else items
        url, parameters = answer.links.get("next", {}).get("url"), None


# --- runs and their artifacts ----------------------------------------------------------------------------------------


def artifacts(here: Repository, name: str) -> list[Json]:
    """The artifacts of a name that runs of this repository left, no fork's, newest first; none that has expired."""
    ours = [
        each
        for each in pages(here, "actions/artifacts", "artifacts", name=name)
        if not each["expired"] and (each["workflow_run"] or {}).get("head_repository_id") == here.id
    ]
    return sorted(ours, key=lambda each: int(each["id"]), reverse=True)


def run(here: Repository, number: int) -> Json | None:
    """A run of a workflow; None where there is none of that number."""
    answer: Json | None = found(here, f"actions/runs/{number}")
    return answer


def of_main(here: Repository, run: Json) -> bool:
    """Whether main's own code was run: by release.yml, or by the checks of the merge queue that became main.

    `head_branch` is the bare name of a tag too: that the commit is one of the first-parent line is what counts.
    """
    workflow = run["path"].partition("@")[0]  # GitHub adds the ref at times
    if (run["head_repository"] or {}).get("id") != here.id or not first_parent(run["head_sha"]):
        return False
    if workflow == RELEASE:
        return run["event"] in STARTED and run["head_branch"] == here.default_branch
    return bool(workflow == CHECKS and run["event"] == "merge_group")


def released(here: Repository, kind: str, key: str) -> int | None:
    """The newest run of main's own code that left what it made of the inputs of a content key.

    Anybody may name an artifact so, and code that main held once another key's: the run's commit has to have that key.
    Only runs that could be main's are asked for: a thousand others would use up what a token may ask in an hour.
    """
    for each in artifacts(here, f"{kind}-{key}"):
        by = each["workflow_run"]
        mains = by["head_branch"] == here.default_branch or str(by["head_branch"]).startswith(QUEUE)
        if not mains or not first_parent(by["head_sha"]) or content_key(by["head_sha"]) != key:
            continue
        if (made := run(here, by["id"])) and of_main(here, made):
            return int(by["id"])
    return None


RELEASE, CHECKS = ".github/workflows/release.yml", ".github/workflows/pull-request.yml"
QUEUE = "gh-readonly-queue/"  # how the branches of a merge queue begin
STARTED = ("push", "schedule", "workflow_dispatch")


def jobs(here: Repository, run: int) -> list[Json]:
    """The newest attempt's jobs of a run."""
    return list(pages(here, f"actions/runs/{run}/jobs", "jobs"))


def artifact(here: Repository, run: int, name: str) -> Json | None:
    """A run's artifact of a name, unless it has expired."""
    listed = found(here, f"actions/runs/{run}/artifacts", name=name) or {"artifacts": []}
    return next((each for each in listed["artifacts"] if not each["expired"]), None)


def unpacked(here: Repository, run: int, name: str) -> dict[str, bytes] | None:
    """The files of a run's artifact, or None where it is gone. Raises BadAnswer where it is larger than any of ours.

    Whoever runs in a job may upload what they like, a small zip that fills the memory too.
    """
    if (listed := artifact(here, run, name)) is None:
        return None
    if (size := listed["size_in_bytes"]) > LARGEST:
        raise BadAnswer(TOO_LARGE.format(name, run, f"{size:,} bytes, at most {LARGEST:,}"))
    answer = checked(here.session.get(listed["archive_download_url"]))
    try:
        with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
            members = archive.infolist()
            if len(members) > MEMBERS:
                raise BadAnswer(TOO_LARGE.format(name, run, f"{len(members):,} files, at most {MEMBERS:,}"))
            if (size := sum(member.file_size for member in members)) > LARGEST:
                raise BadAnswer(TOO_LARGE.format(name, run, f"{size:,} bytes unpacked, at most {LARGEST:,}"))
            # No more is unpacked of any than it says.
            return {member.filename: archive.open(member).read(member.file_size) for member in members}
    except (zipfile.BadZipFile, zlib.error, lzma.LZMAError, RuntimeError, EOFError, OSError) as error:
        raise BadAnswer(f"the artifact {name} of run {run} is no whole zip: {error}") from None


TOO_LARGE = "the artifact {} of run {} has {}, as none of ours has: look at what that run did before you trust it"


def download(here: Repository, asset: Json) -> bytes:
    """The bytes of a release's asset."""
    return bytes(checked(here.session.get(asset["url"], headers={"Accept": "application/octet-stream"})).content)


def upload(here: Repository, url: str, name: str, content: bytes) -> None:
    """Adds an asset to a release, whose `upload_url` is a template."""
    headers = {"Content-Type": "application/octet-stream"}
    checked(here.session.post(url.partition("{")[0], params={"name": name}, data=content, headers=headers))


def merged_from(here: Repository, commit: str) -> Json | None:
    """The pull request whose merge put a commit on the first-parent line of the default branch."""
    return next(iter(merged_by(here, commit)), None)


def merged_by(here: Repository, commit: str) -> list[Json]:
    """Each pull request of which GitHub says so: another with the same commits, which nobody looked at, is merged too.

    For some seconds after a merge GitHub knows of none: a young commit is asked for again, for up to a minute.
    """
    if not first_parent(commit):
        return []
    for again in range(LOOKS + 1):
        listed = pages(here, f"commits/{commit}/pulls")
        if (found := [each for each in listed if brought(here, each, commit)]) or age(commit) > YOUNG:
            return found
        if again < LOOKS:
            time.sleep(PAUSE * 2**again)
    return []


def brought(here: Repository, pull: Json, commit: str) -> bool:
    """Whether it was a pull request's merge that put a commit on main: as the merge, or rebased with others.

    The commits behind a merge commit are of its request, and were never what main held.
    """
    base, merge = pull["base"], pull["merge_commit_sha"]
    if not pull["merged_at"] or (base["ref"], base["repo"]["id"]) != (here.default_branch, here.id):
        return False
    if merge == commit or not first_parent(merge) or len(git("rev-list", "--parents", "-1", merge).split()) != 2:
        return bool(merge == commit)
    rebased = ask(here, "GET", f"pulls/{pull['number']}")["commits"]
    return commit in git("rev-list", "--first-parent", f"--max-count={rebased}", merge).split()


def first_parent(sha: str) -> bool:
    """Whether a commit is on the first-parent line of the one checked out here: on main, one that main has held."""
    return sha in git("rev-list", "--first-parent", "HEAD").split()


def age(commit: str) -> float:
    """The seconds since a commit was made."""
    made = git("rev-list", "--timestamp", "--max-count=1", commit).split()[0]
    return datetime.now(UTC).timestamp() - int(made)


def alone(here: Repository, pull: Mapping[str, Any]) -> bool:
    """Whether no run of a pull request's branch, one of this repository, can have merged it into another base.

    A standing branch has earlier requests. Of those that were closed long before, `runs_of` leaves the runs out; of one
    that was closed a moment ago a run could start only now, on the base that it has or had.
    """
    head = pull["head"]
    if (head["repo"] or {}).get("id") != here.id:
        return False
    listed = list(pages(here, "pulls", state="all", head=f"{here.owner.login}:{head['ref']}"))
    others = [each for each in listed if each["number"] != pull["number"]]
    opened = datetime.fromisoformat(pull["created_at"])
    near = [each for each in others if (opened - ended(each, opened)).total_seconds() <= LATE]
    elsewhere = any(each["base"]["ref"] != here.default_branch or base_changed(here, each["number"]) for each in near)
    return len(others) == len(listed) - 1 and not elsewhere


def ended(pull: Mapping[str, Any], else_: datetime) -> datetime:
    """When a pull request was closed; where it is open, `else_`."""
    return datetime.fromisoformat(pull["closed_at"]) if pull["closed_at"] else else_


def base_changed(here: Repository, number: int) -> bool:
    """Whether a pull request ever had another base, or its base was rewritten: its runs merged it into that."""
    return any(each["event"] in BASE_CHANGES for each in pages(here, f"issues/{number}/timeline"))


BASE_CHANGES = ("base_ref_changed", "automatic_base_change_succeeded", "base_ref_force_pushed")


def contains(here: Repository, commit: str, head: str) -> bool:
    """Whether a commit is `head` or one before it, neither of which need be in this clone."""
    compared = found(here, f"compare/{commit}...{head}", per_page=1)
    return compared is not None and compared["behind_by"] == 0


def runs_of(here: Repository, pull: Json, workflow: str) -> list[int]:
    """The runs that a workflow of this repository made for a pull request's head since that was opened, newest first.

    None for a fork's.
    """
    if (pull["head"]["repo"] or {}).get("id") != here.id:
        return []
    listed = pages(
        here, f"actions/workflows/{workflow}/runs", "workflow_runs", head_sha=pull["head"]["sha"], event="pull_request"
    )
    own = (here.id, pull["head"]["ref"])  # a commit can be the head of several branches
    since = (run for run in listed if run["created_at"] >= pull["created_at"])
    ours = (run["id"] for run in since if ((run["head_repository"] or {}).get("id"), run["head_branch"]) == own)
    return sorted(ours, reverse=True)


def approvals(here: Repository, number: int) -> dict[str, str]:
    """Who of those who may write approves a pull request, by their newest verdict, and the head that they saw."""
    verdicts = {
        author(review): review
        for review in pages(here, f"pulls/{number}/reviews")
        if author(review) and review["state"] in ("APPROVED", "CHANGES_REQUESTED", "DISMISSED")
    }
    approve = {login: review["commit_id"] for login, review in verdicts.items() if review["state"] == "APPROVED"}
    return {login: head for login, head in approve.items() if may_write(here, login)}


def may_write(here: Repository, login: str) -> bool:
    """Whether somebody's approval counts: on a public repository anybody can give one."""
    role = found(here, f"collaborators/{login}/permission") or {}
    return role.get("permission") in ("admin", "write")


# --- branches and pull requests --------------------------------------------------------------------------------------


def dismiss(here: Repository, number: int, tip: str, folder: str, message: str) -> None:
    """Takes back the approvals of a pull request whose folder was another when they were given."""
    for review in list(pages(here, f"pulls/{number}/reviews")):
        seen = review["commit_id"]
        if review["state"] == "APPROVED" and seen != tip and tree_of(here, seen, folder) != tree_of(here, tip, folder):
            ask(here, "PUT", f"pulls/{number}/reviews/{review['id']}/dismissals", {"message": message})


def merge(here: Repository, number: int, tip: str) -> str | None:
    """Merges a pull request, exactly this head; GitHub's words where a rule forbids it."""
    try:
        ask(here, "PUT", f"pulls/{number}/merge", {"sha": tip, "merge_method": "merge"})
    except GitHubError as error:
        if pause(error, 0) is not None:
            raise
        return str(error.msg)
    return None


def text_of(here: Repository, commit: str, path: str) -> str | None:
    """A file of a commit that need not be in this clone; None where it is not there."""
    listed = found(here, f"contents/{path}", ref=commit)
    return base64.b64decode(listed["content"]).decode() if listed else None


def commit(
    here: Repository,
    branch: str,
    files: Mapping[str, str | None],
    message: str,
    head: Json | None,
    others: bool = False,
) -> str:
    """The branch's head, whose tree is that of the commit checked out here, with `files` (None removes one).

    `head` is the branch's ref as it was read, or None: what somebody else has pushed since makes this fail, and
    nothing is ever forced. Where the branch holds the files already, on what main still has of them, nothing is done:
    with `others`, whatever people have changed there beside them. GitHub signs what is committed so.
    """
    tip = head["object"]["sha"] if head else None
    if tip and holds(here, tip, files, others):
        return str(tip)
    entries = [
        {"path": path, "mode": "100644", "type": "blob"} | ({"sha": None} if text is None else {"content": text})
        for path, text in files.items()
        if text is not None or git("ls-tree", "HEAD", "--", path)
    ]
    grown = ask(here, "POST", "git/trees", {"base_tree": git("rev-parse", "HEAD^{tree}"), "tree": entries})
    parents = [*([tip] if tip else []), git("rev-parse", "HEAD")]
    made = ask(here, "POST", "git/commits", {"message": message, "tree": grown["sha"], "parents": parents})["sha"]
    if tip:
        ask(here, "PATCH", f"git/refs/heads/{branch}", {"sha": made, "force": False})
    else:
        ask(here, "POST", "git/refs", {"ref": f"refs/heads/{branch}", "sha": made})
    return str(made)


def ref(here: Repository, branch: str) -> Json | None:
    """A branch's ref, to be handed to `commit`; None where there is no such branch."""
    answer: Json | None = found(here, f"git/ref/heads/{branch}")
    return answer


def holds(here: Repository, tip: str, files: Mapping[str, str | None], others: bool) -> bool:
    """Whether merging a branch's head leaves main with `files`, on what main has of them now.

    And with nothing else than main had, but where `others` may be.
    """
    if in_history(tip):
        return False
    # Where they part: the head's own tree says nothing of what a merge leaves, it may be an earlier main's.
    compared = found(here, f"compare/{git('rev-parse', 'HEAD')}...{tip}", per_page=1)
    base = compared["merge_base_commit"]["sha"] if compared else ""
    if not in_history(base) or git("diff", "--name-only", base, "HEAD", "--", *files):
        return False
    listed = ask(here, "GET", f"git/trees/{tip}", recursive=1)["tree"]
    there = {entry["path"]: (entry["mode"], entry["sha"]) for entry in listed if entry["type"] != "tree"}
    wanted = {path: (FILE, blob(text.encode())) for path, text in files.items() if text is not None}
    if {path: about for path, about in there.items() if path in files} != wanted:
        return False
    ours, theirs = ({path: about for path, about in held.items() if path not in files} for held in (tree(base), there))
    return others or ours == theirs


def in_history(sha: str) -> bool:
    """Whether a commit is the one checked out here or one before it."""
    return not subprocess.run(["git", "merge-base", "--is-ancestor", sha, "HEAD"], capture_output=True).returncode


def blob(content: bytes) -> str:
    """The name that git gives to a file's bytes."""
    command = ["git", "hash-object", "--stdin", "--no-filters"]
    return subprocess.run(command, check=True, input=content, stdout=subprocess.PIPE).stdout.decode().strip()


def parent(here: Repository, commit: str) -> str:
    """The first parent of a commit: of the merge that a pull request's run has checked out, what it is merged into."""
    return str(ask(here, "GET", f"git/commits/{commit}")["parents"][0]["sha"])


def files(here: Repository, commit: str) -> Tree:
    """Every file of a commit that need not be in this clone; none where there are more than GitHub lists (100,000)."""
    listed = ask(here, "GET", f"git/trees/{commit}", recursive=1)
    entries = [] if listed["truncated"] else listed["tree"]
    return {entry["path"]: (entry["mode"], entry["sha"]) for entry in entries if entry["type"] != "tree"}


def tree_of(here: Repository, commit: str, folder: str) -> str | None:
    """The name of a folder's tree in a commit that need not be in this clone; None where it is not there."""
    parent, name = folder.rstrip("/").rsplit("/", 1)
    listed = found(here, f"contents/{parent}", ref=commit) or []
    return next((entry["sha"] for entry in listed if entry["name"] == name), None)


def newest(here: Repository, branch: str, state: str = "all") -> Json | None:
    """The newest pull request of a branch of this repository into the default branch, in full; None where none is."""
    head = f"{here.owner.login}:{branch}"
    listed = ask(here, "GET", "pulls", head=head, base=here.default_branch, state=state, per_page=1)
    return listed[0] if listed else None


def propose(
    here: Repository,
    branch: str,
    title: str,
    body: str,
    labels: Iterable[str] = (),
    reviewers: Iterable[str] = (),
    team_reviewers: Iterable[str] = (),
) -> Proposal:
    """Opens the one pull request of a branch, or brings its words up to date.

    Where Actions may not create pull requests (GitHub's default) one issue carries the link that opens it.
    """
    marker = opens(branch)
    pull = newest(here, branch, "open")
    if pull is None:
        wanted = {"title": title, "body": body, "head": branch, "base": here.default_branch}
        try:
            pull = ask(here, "POST", "pulls", wanted)
        except ForbiddenError as error:
            if pause(error, 0) is not None:
                raise
            link = f"{here.html_url}/compare/{here.default_branch}...{branch}?expand=1"
            return Proposal(None, issue(here, marker, title, f"{OPEN_IT.format(link=link)}\n\n{body}"))
    elif (pull["title"], pull["body"]) != (title, body):
        pull = ask(here, "PATCH", f"pulls/{pull['number']}", {"title": title, "body": body})
    if missing := sorted(set(labels) - {label["name"] for label in pull["labels"]}):
        ask(here, "POST", f"issues/{pull['number']}/labels", {"labels": missing})
    request_reviews(here, pull, set(reviewers), set(team_reviewers))
    close_issue(here, marker, f"Opened as #{pull['number']}.")
    return Proposal(pull["number"], pull["html_url"])


def opens(branch: str) -> str:
    """The marker of the issue that asks people to open a branch's request."""
    return f"<!-- gitops:open {branch} -->"


OPEN_IT = """GitHub Actions may not open pull requests here, so this one waits for you: **[open it]({link})**.

To have the next one opened for you: Settings, Actions, General, *Allow GitHub Actions to create and approve pull \
requests*, or `make setup-github`."""


def request_reviews(here: Repository, pull: Json, people: set[str], teams: set[str]) -> None:
    """Asks whom nobody has asked yet; who has reviewed already was asked."""
    people -= {person["login"] for person in pull.get("requested_reviewers") or []} | {author(pull)}
    teams -= {team["slug"] for team in pull.get("requested_teams") or []}
    if people:
        people -= {author(review) for review in pages(here, f"pulls/{pull['number']}/reviews")}
    if people or teams:
        asked = {"reviewers": sorted(people), "team_reviewers": sorted(teams)}
        try:
            ask(here, "POST", f"pulls/{pull['number']}/requested_reviewers", asked)
        except UnprocessableEntity as error:
            if "collaborators" not in str(error.msg):
                raise
            print(f"::warning title=Reviewers::{error.msg}: {asked}, of policies/")  # the request stands without


def close(here: Repository, branch: str, reason: str) -> None:
    """Closes the open pull request of a branch, where there is one, and says why in a comment."""
    if pull := newest(here, branch, "open"):
        comment(here, pull["number"], f"<!-- gitops:closed -->\n{reason}", "<!-- gitops:closed -->")
        ask(here, "PATCH", f"pulls/{pull['number']}", {"state": "closed"})
    close_issue(here, opens(branch), reason)


def auto_merge(here: Repository, number: int) -> str | None:
    """Has GitHub merge a pull request once its checks and reviews allow it; GitHub's own words where it refuses."""
    pull = ask(here, "GET", f"pulls/{number}")
    if pull["auto_merge"]:
        return None
    asked = {"query": ENABLE_AUTO_MERGE, "variables": {"id": pull["node_id"]}}
    errors = said(here.session.post(os.environ["GITHUB_GRAPHQL_URL"], json=asked)).get("errors")  # with status 200
    return str(errors[0]["message"]) if errors else None


ENABLE_AUTO_MERGE = """mutation ($id: ID!) {
  enablePullRequestAutoMerge(input: {pullRequestId: $id}) { pullRequest { number } }
}"""


# --- comments and issues ---------------------------------------------------------------------------------------------


def comment(here: Repository, number: int, body: str, marker: str) -> str | None:
    """Edits the one comment of gitops that carries the marker, or makes it; its address.

    None where the token may not write, as a fork's may not.
    """
    try:
        if not (ours := comments(here, number, marker)):
            made = ask(here, "POST", f"issues/{number}/comments", {"body": body})
            ours = comments(here, number, marker) or [made]  # another run may have been as quick, and the listing slow
        for spare in ours[1:]:
            with suppress(NotFoundError):  # the other run took it away
                ask(here, "DELETE", f"issues/comments/{spare['id']}")
        if ours[0]["body"] != body:
            ask(here, "PATCH", f"issues/comments/{ours[0]['id']}", {"body": body})
        return str(ours[0]["html_url"])
    except ForbiddenError as error:
        if pause(error, 0) is not None:
            raise
        return None


def comments(here: Repository, number: int, marker: str) -> list[Json]:
    """The comments of gitops that carry a marker, oldest first."""
    listed = pages(here, f"issues/{number}/comments")
    return [each for each in listed if carries(each, marker)]


def issue(here: Repository, marker: str, title: str, body: str) -> str:
    """Opens the one issue that carries the marker, or brings its words up to date; its address.

    Where issues are switched off this run says it; the run's address.
    """
    body = f"{marker}\n{body}"
    if not (ours := issues(here, marker)):
        try:
            made = ask(here, "POST", "issues", {"title": title, "body": body, "labels": [LABEL]})
        except GitHubError as error:
            if error.code != GONE:
                raise
            return aside(here, title, body)
        ours = issues(here, marker) or [made]  # another run may have been as quick, and the listing slow
    kept, *spare = ours
    for other in spare:
        shut(here, other["number"], DUPLICATE.format(kept["number"]))
    if (kept["title"], kept["body"]) != (title, body):
        ask(here, "PATCH", f"issues/{kept['number']}", {"title": title, "body": body})
    return str(kept["html_url"])


def close_issue(here: Repository, marker: str, reason: str) -> None:
    """Closes the issue that carries the marker, where there is one, and says why in a comment."""
    for ours in issues(here, marker):
        shut(here, ours["number"], reason)


def shut(here: Repository, number: int, reason: str) -> None:
    """Closes an issue with a comment that says why."""
    comment(here, number, f"<!-- gitops:closed -->\n{reason}", "<!-- gitops:closed -->")
    ask(here, "PATCH", f"issues/{number}", {"state": "closed"})


def issues(here: Repository, marker: str) -> list[Json]:
    """The open issues of gitops that carry a marker, oldest first; none where issues are switched off."""
    listed = pages(here, "issues", state="open", labels=LABEL, sort="created", direction="asc")
    try:
        return [each for each in listed if carries(each, marker) and "pull_request" not in each]
    except GitHubError as error:
        if error.code != GONE:
            raise
        return []


def aside(here: Repository, title: str, body: str) -> str:
    """Says in the step summary and the log what an issue would have kept; the address of the run."""
    print(f"::warning title=Issues are switched off::{title}: the summary of this run says more, no issue keeps it")
    summary, whole = Path(os.environ["GITHUB_STEP_SUMMARY"]), f"\n## {title}\n\n{body}\n"
    if not summary.exists() or whole not in summary.read_text():  # another try of the same run
        with summary.open("a") as file:
            file.write(whole)
    return f"{here.html_url}/actions/runs/{os.environ['GITHUB_RUN_ID']}"


def ours(made: Mapping[str, Any]) -> bool:
    """Whether gitops made a deployment, or a status of one."""
    return (made.get("creator") or {}).get("login") in bots()


def carries(each: Json, marker: str) -> bool:
    """Whether gitops wrote something that carries a marker: anybody can write one."""
    return author(each) in bots() and marker in (each.get("body") or "")


def author(each: Json) -> str:
    """Who wrote something; empty where the account is gone."""
    return str((each.get("user") or {}).get("login", ""))
