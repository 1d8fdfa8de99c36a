"""The constant parts of GitHub's answers: what a resource carries besides what happened to it."""

from typing import Any

Json = dict[str, Any]
ACTIONS = "github-actions[bot]"
ACTIONS_APP = 15368
BODY_LIMIT = 65536
PRIVATE_FORKS = (
    "run_workflows_from_fork_pull_requests",
    "send_write_tokens_to_workflows",
    "send_secrets_and_variables",
    "require_approval_for_fork_pr_workflows",
)

ACCOUNT_URLS = {
    "followers": "/followers",
    "following": "/following{/other_user}",
    "gists": "/gists{/gist_id}",
    "starred": "/starred{/owner}{/repo}",
    "subscriptions": "/subscriptions",
    "organizations": "/orgs",
    "repos": "/repos",
    "events": "/events{/privacy}",
    "received_events": "/received_events",
}
ACCOUNT_BLANKS = dict.fromkeys(("name", "company", "location", "email", "hireable", "bio"))
ACCOUNT_COUNTS = dict.fromkeys(("public_repos", "public_gists", "followers", "following"), 0)
PLAIN = "contributors deployments downloads events forks hooks languages merges stargazers subscribers tags teams"
REPOSITORY_URLS = {name: f"/{name}" for name in (*PLAIN.split(), "subscription")} | {
    "archive": "/{archive_format}{/ref}",
    "assignees": "/assignees{/user}",
    "blobs": "/git/blobs{/sha}",
    "branches": "/branches{/branch}",
    "collaborators": "/collaborators{/collaborator}",
    "comments": "/comments{/number}",
    "commits": "/commits{/sha}",
    "compare": "/compare/{base}...{head}",
    "contents": "/contents/{+path}",
    "git_commits": "/git/commits{/sha}",
    "git_refs": "/git/refs{/sha}",
    "git_tags": "/git/tags{/sha}",
    "issue_comment": "/issues/comments{/number}",
    "issue_events": "/issues/events{/number}",
    "issues": "/issues{/number}",
    "keys": "/keys{/key_id}",
    "labels": "/labels{/name}",
    "milestones": "/milestones{/number}",
    "notifications": "/notifications{?since,all,participating}",
    "pulls": "/pulls{/number}",
    "releases": "/releases{/id}",
    "statuses": "/statuses/{sha}",
    "trees": "/git/trees{/sha}",
}
REPOSITORY_DEFAULTS: Json = {
    **dict.fromkeys(("mirror_url", "homepage", "language", "license", "description")),
    **dict.fromkeys(("stargazers_count", "watchers_count", "forks_count", "subscribers_count", "network_count"), 0),
    **dict.fromkeys(("size", "open_issues_count", "forks", "open_issues", "watchers"), 0),
    **dict.fromkeys(("has_issues", "has_projects", "has_wiki", "has_downloads"), True),
    **dict.fromkeys(("has_pages", "has_discussions", "archived", "disabled", "allow_auto_merge"), False),
    **dict.fromkeys(("allow_squash_merge", "allow_merge_commit", "allow_rebase_merge"), True),
    "delete_branch_on_merge": False,
    "topics": [],
    "default_branch": "main",
}
ISSUE_DEFAULTS: Json = {
    **dict.fromkeys(("state_reason", "body", "assignee", "milestone", "active_lock_reason", "closed_at", "closed_by")),
    **{"state": "open", "locked": False, "labels": [], "assignees": [], "comments": 0},
    **{"body_html": "", "body_text": "", "author_association": "MEMBER"},
}
PULL_DEFAULTS: Json = {
    **dict.fromkeys(("auto_merge", "merged_at", "merged_by", "merge_commit_sha", "mergeable", "rebaseable")),
    **dict.fromkeys(("draft", "merged", "maintainer_can_modify"), False),
    **{"requested_reviewers": [], "requested_teams": [], "review_comments": 0},
}
RUN_DEFAULTS: Json = {
    **{"run_attempt": 1, "status": "queued", "conclusion": None, "previous_attempt_url": None},
    **{"pull_requests": [], "referenced_workflows": []},
}
CHECK_DEFAULTS: Json = {
    **dict.fromkeys(("conclusion", "started_at", "completed_at", "details_url")),
    **{"status": "queued", "external_id": "", "pull_requests": []},
}
JOB_DEFAULTS: Json = {
    **dict.fromkeys(("conclusion", "started_at", "completed_at")),
    **dict.fromkeys(("runner_id", "runner_name", "runner_group_id", "runner_group_name")),
    **{"status": "queued", "steps": [], "labels": ["ubuntu-latest"]},
}


def account(api: str, web: str, login: str, number: int) -> Json:
    """A user, an organisation or a bot."""
    url = f"{api}/users/{login}"
    return {
        "login": login,
        "id": number,
        "node_id": f"U_{number}",
        "avatar_url": f"{web}/avatars/{login}",
        "gravatar_id": "",
        "url": url,
        "html_url": f"{web}/{login}",
        **{f"{name}_url": url + path for name, path in ACCOUNT_URLS.items()},
        "type": "Bot" if login.endswith("[bot]") else "User",
        "site_admin": False,
    }


def repository(api: str, web: str, full_name: str, owner: Json, number: int, now: str, **fields: Any) -> Json:
    url, page = f"{api}/repos/{full_name}", f"{web}/{full_name}"
    return {
        "id": number,
        "node_id": f"R_{number}",
        "name": full_name.split("/")[1],
        "full_name": full_name,
        "owner": owner,
        "url": url,
        "html_url": page,
        **{f"{name}_url": url + path for name, path in REPOSITORY_URLS.items()},
        "clone_url": f"{page}.git",
        "git_url": f"{page}.git",
        "ssh_url": f"git@127.0.0.1:{full_name}.git",
        "svn_url": page,
        **REPOSITORY_DEFAULTS,
        **{"created_at": now, "updated_at": now, "pushed_at": now},
        **fields,
    }


def application(web: str, number: int, slug: str, owner: Json, permissions: dict[str, str], now: str) -> Json:
    return {
        "id": number,
        "slug": slug,
        "node_id": f"A_{number}",
        "owner": owner,
        "name": slug,
        "description": "",
        "external_url": web,
        "html_url": f"{web}/apps/{slug}",
        "created_at": now,
        "updated_at": now,
        "permissions": permissions,
        "events": [],
    }


def commit(repository: Json, record: Json, author: Json | None, committer: Json | None) -> Json:
    """record: one of `Git.commits`."""
    url, page, sha = repository["url"], repository["html_url"], record["sha"]
    return {
        "url": f"{url}/commits/{sha}",
        "sha": sha,
        "node_id": f"C_{sha}",
        "html_url": f"{page}/commit/{sha}",
        "comments_url": f"{url}/commits/{sha}/comments",
        "commit": {**git_commit(repository, record), "comment_count": 0},
        "author": author,
        "committer": committer,
        "parents": git_commit(repository, record)["parents"],
    }


def git_commit(repository: Json, record: Json) -> Json:
    url, page, sha = repository["url"], repository["html_url"], record["sha"]
    signed = record["committer"]["email"] == "noreply@github.com"
    return {
        "sha": sha,
        "node_id": f"C_{sha}",
        "url": f"{url}/git/commits/{sha}",
        "html_url": f"{page}/commit/{sha}",
        "author": record["author"],
        "committer": record["committer"],
        "message": record["message"],
        "tree": {"sha": record["tree"], "url": f"{url}/git/trees/{record['tree']}"},
        "parents": [
            {"sha": parent, "url": f"{url}/git/commits/{parent}", "html_url": f"{page}/commit/{parent}"}
            for parent in record["parents"]
        ],
        "verification": {
            "verified": signed,
            "reason": "valid" if signed else "unsigned",
            **dict.fromkeys(("signature", "payload", "verified_at")),
        },
    }


def pull_links(repository: Json, number: int) -> Json:
    """The addresses of a pull request, plain and as `_links`."""
    url, page, issue = f"{repository['url']}/pulls/{number}", repository["html_url"], repository["url"] + "/issues"
    links = {
        "html": f"{page}/pull/{number}",
        "issue": f"{issue}/{number}",
        "comments": f"{issue}/{number}/comments",
        "review_comments": f"{url}/comments",
        "review_comment": f"{repository['url']}/pulls/comments{{/number}}",
        "commits": f"{url}/commits",
        "statuses": f"{repository['url']}/statuses/HEAD",
    }
    return {
        "url": url,
        **{f"{name}_url": link for name, link in links.items()},
        "diff_url": f"{page}/pull/{number}.diff",
        "patch_url": f"{page}/pull/{number}.patch",
        "_links": {name: {"href": link} for name, link in {"self": url, **links}.items()},
    }
