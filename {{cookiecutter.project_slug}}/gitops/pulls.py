"""All that is said to GitHub, by github3.py: the one place that knows its API."""

import os
from collections.abc import Iterator, Mapping
from typing import Any

from github3 import GitHub
from github3.exceptions import ForbiddenError
from github3.repos.repo import Repository
from github3.session import GitHubSession

BOT = "github-actions[bot]"  # who acts with a workflow's own token


def repository(environment: Mapping[str, str] = os.environ) -> Repository:
    """This repository, by the token and the address that the workflow gives."""
    session = GitHubSession()
    session.base_url = environment["GITHUB_API_URL"]
    github = GitHub(session=session, token=environment["GITHUB_TOKEN"])
    return github.repository(*environment["GITHUB_REPOSITORY"].split("/"))


def bundle(here: Repository, key: str) -> int | None:
    """The newest run of this repository, no fork, that handed over the bytes of a content key."""
    for artifact in pages(here, "actions/artifacts", "artifacts", name=f"pipeline-{key}"):
        made = artifact["workflow_run"]
        if not artifact["expired"] and made["head_repository_id"] == here.id:
            return int(made["id"])
    return None


def jobs(here: Repository, run: int) -> list[dict[str, Any]]:
    """The newest attempt's jobs of a run."""
    return list(pages(here, f"actions/runs/{run}/jobs", "jobs"))


def comment(here: Repository, pull_request: int, body: str, marker: str, author: str = BOT) -> str | None:
    """Edits the one comment that carries the marker and is the bot's, or makes it; its address.

    None where the token may not write, as a fork's may not. Anybody can write the marker, only the bot is the bot.
    """
    try:
        issue = here.issue(pull_request)
        for old in issue.comments():
            if old.user.login == author and marker in old.body:
                if old.body != body:
                    old.edit(body)
                return str(old.html_url)
        return str(issue.create_comment(body).html_url)
    except ForbiddenError:
        return None


def pages(here: Repository, path: str, field: str, **query: str) -> Iterator[dict[str, Any]]:
    """The items of a listing that github3 has no method for, page by page."""
    url: str | None = here.url + "/" + path
    parameters: dict[str, Any] | None = {"per_page": 100, **query}
    while url:
        answer = here.session.get(url, params=parameters)
        answer.raise_for_status()
        yield from answer.json()[field]
        url, parameters = answer.links.get("next", {}).get("url"), None
