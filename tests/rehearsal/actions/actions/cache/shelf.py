"""Where caches lie: a folder a scope (the ref that saved them), in it one a set of paths, in it a tar a key."""

import hashlib
import json
import os
from pathlib import Path
from urllib.parse import quote, urlsplit

SHELF = Path(urlsplit(os.environ["ACTIONS_CACHE_URL"]).path)
PATHS = os.environ["INPUT_PATH"].split()
KEY = os.environ["INPUT_KEY"]


def scope(ref: str) -> Path:
    return SHELF / quote(ref, safe="") / hashlib.sha256("\n".join(PATHS).encode()).hexdigest()[:12]


def entry(ref: str, key: str) -> Path:
    return scope(ref) / (quote(key, safe="") + ".tar.gz")


def readable() -> list[str]:
    """A run reads what its own ref saved, then its pull request's base, then the default branch."""
    event = json.loads(Path(os.environ["GITHUB_EVENT_PATH"]).read_text())
    base, default = os.environ.get("GITHUB_BASE_REF"), event["repository"]["default_branch"]
    own = [os.environ["GITHUB_REF"], f"refs/heads/{base}" if base else "", f"refs/heads/{default}"]
    return list(dict.fromkeys(filter(None, own)))
