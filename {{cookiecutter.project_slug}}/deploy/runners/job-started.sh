#!/usr/bin/env bash
# What a machine of ours runs before each job (ACTIONS_RUNNER_HOOK_JOB_STARTED): a job that is not one of the
# repository's own ends here, whatever its workflow file says. ALLOWED_REPOSITORY, owner/name, is set on the machine.

problem() {
	python3 -I - <<'PYTHON'
from __future__ import annotations

import json
import os
import re
import sys

REQUESTS = ("pull_request", "merge_group")
MAIN = ("push", "schedule", "workflow_dispatch")


def problem() -> str | None:
    """Why the job may not run here; None where it may. What it reads is GitHub's: no workflow file can set it."""
    ours, here = os.environ.get("ALLOWED_REPOSITORY", ""), os.environ.get("GITHUB_REPOSITORY", "")
    if not ours:
        return "ALLOWED_REPOSITORY is not set on this machine: set it to owner/name of the repository that may use it"
    if here.lower() != ours.lower():
        return f"this machine is for {ours}, and the job is of {here}"
    name = os.environ["GITHUB_EVENT_NAME"]
    with open(os.environ["GITHUB_EVENT_PATH"], encoding="utf-8") as file:
        event = json.load(file)
    main = event["repository"]["default_branch"]
    if name == "pull_request":
        request = event["pull_request"]
        head = (request["head"]["repo"] or {}).get("full_name")  # a fork that was deleted is null
        if head is None or head.lower() != ours.lower():
            return f"the pull request comes from {head or 'a fork that is gone'}: a fork's code does not run here"
        if request["base"]["ref"] != main:
            return f"the pull request goes into {request['base']['ref']}, not into {main}"
        wanted = ("pull-request.yml", f"refs/pull/{event['number']}/merge")
    elif name == "merge_group":
        wanted = ("pull-request.yml", event["merge_group"]["head_ref"])
        if not wanted[1].startswith(f"refs/heads/gh-readonly-queue/{main}/"):
            return f"the merge queue is not that of {main}"
    elif name in MAIN:
        wanted = ("release.yml", f"refs/heads/{main}")
    else:
        return f"the event is {name}: only {', '.join(REQUESTS + MAIN)} may use this machine"
    asked = os.environ["GITHUB_WORKFLOW_REF"]
    if asked.lower() != f"{ours}/.github/workflows/{wanted[0]}@{wanted[1]}".lower():
        return f"the workflow is {asked}, and of a {name} only {wanted[0]} of {wanted[1]} may use this machine"
    return None


if said := problem():
    print(re.sub(r"[^\x20-\x7e]", "?", said))  # a name in it is no command of the runner's
    sys.exit(1)
PYTHON
}

why=$(problem 2>&1) && exit 0
echo "::error title=This machine refuses the job::${why##*$'\n'}"
# After a hook that failed the runner goes on with every step that says `if: always()`. Ended, it goes on with none.
sleep "${LOG_SECONDS:-5}" # until what is said above has been sent
kill -KILL "$PPID"
exit 1
