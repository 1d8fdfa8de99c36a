"""Fetches one commit from the forge with the job's token, as shallow as the real action does."""

import base64
import os
import re
import subprocess
from pathlib import Path

given = {name.removeprefix("INPUT_"): value for name, value in os.environ.items() if name.startswith("INPUT_")}
server, event_ref = os.environ["GITHUB_SERVER_URL"], os.environ["GITHUB_REF"]
folder = Path(os.environ["GITHUB_WORKSPACE"], given["PATH"])


def git(*arguments: str) -> None:
    subprocess.run(["git", "-C", folder, *arguments], check=True)


def wanted() -> tuple[str, str]:
    """What to fetch, and the ref that it is kept under."""
    if ref := given.get("REF"):
        return ref, f"refs/remotes/origin/{ref.removeprefix('refs/heads/')}"
    if given["REPOSITORY"] != os.environ["GITHUB_REPOSITORY"]:
        branch = default_branch()
        return branch, f"refs/remotes/origin/{branch}"
    kept = event_ref.replace("refs/heads/", "refs/remotes/origin/").replace("refs/pull/", "refs/remotes/pull/")
    return os.environ["GITHUB_SHA"], kept


def default_branch() -> str:
    command = ["git", "-C", folder, *signed, "ls-remote", "--symref", "origin", "HEAD"]
    told = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    return told.split()[1].removeprefix("refs/heads/")


folder.mkdir(parents=True, exist_ok=True)
secret = base64.b64encode(f"x-access-token:{given['TOKEN']}".encode()).decode()
header = f"http.{server}/.extraheader", f"AUTHORIZATION: basic {secret}"
signed = "-c", "=".join(header)
print(f"::add-mask::{secret}")
git("init", "--quiet")
git("config", "remote.origin.url", f"{server}/{given['REPOSITORY']}")
git("config", "remote.origin.fetch", "+refs/heads/*:refs/remotes/origin/*")
wish, kept = wanted()
places = given.get("SPARSE-CHECKOUT", "").split("\n")
# Like the real action: what is not checked out is not fetched either, and later only with a token that is kept.
chosen = given.get("FILTER") or ("blob:none" if any(places) else "")
less = [f"--filter={chosen}"] if chosen else []
if given["FETCH-DEPTH"] == "0":
    git(*signed, "fetch", "--quiet", *less, "--tags", "origin", "+refs/heads/*:refs/remotes/origin/*")
depth = [] if given["FETCH-DEPTH"] == "0" else ["--no-tags", f"--depth={given['FETCH-DEPTH']}"]
git(*signed, "fetch", "--quiet", *less, *depth, "origin", f"+{wish}:{kept}")
if any(places):
    cone = "--cone" if given["SPARSE-CHECKOUT-CONE-MODE"] == "true" else "--no-cone"
    git("sparse-checkout", "set", cone, *filter(None, places))
is_branch = kept.startswith("refs/remotes/origin/") and not re.search("/[0-9a-f]{40}$", kept)
branch = kept.removeprefix("refs/remotes/origin/") if is_branch else ""
git(*signed, "checkout", "--quiet", "--force", *(["-B", branch] if branch else ["--detach"]), kept)
if given["PERSIST-CREDENTIALS"] == "true":
    git("config", *header)
