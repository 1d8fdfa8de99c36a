"""Restores the cache of the key, or else the newest of a prefix."""

import os
import sys
import tarfile
from pathlib import Path
from urllib.parse import quote, unquote

from shelf import KEY, entry, readable, scope


def found() -> Path | None:
    for ref in readable():
        if (exact := entry(ref, KEY)).exists():
            return exact
        for prefix in os.environ.get("INPUT_RESTORE-KEYS", "").split():
            files = (file for file in scope(ref).glob("*.tar.gz") if file.name.startswith(quote(prefix, safe="")))
            if newest := max(files, key=lambda file: file.stat().st_mtime_ns, default=None):
                return newest
    return None


cache = found()
key = unquote(cache.name.removesuffix(".tar.gz")) if cache else ""
if cache and os.environ["INPUT_LOOKUP-ONLY"] != "true":
    with tarfile.open(cache) as tar:
        tar.extractall(Path.cwd(), filter="fully_trusted")  # made by the post step beside this file
if not cache and os.environ["INPUT_FAIL-ON-CACHE-MISS"] == "true":
    sys.exit(f"Failed to restore cache entry. Exiting as fail-on-cache-miss is set. Input key: {KEY}")
with Path(os.environ["GITHUB_OUTPUT"]).open("a") as outputs:
    hit = str(key == KEY).lower() if cache else ""
    outputs.write(f"cache-hit={hit}\ncache-primary-key={KEY}\ncache-matched-key={key}\n")
with Path(os.environ["GITHUB_STATE"]).open("a") as state:
    state.write(f"MATCHED={key}\n")
print(f"Cache restored from key: {key}" if cache else f"Cache not found for input keys: {KEY}")
