"""Builds nothing: the digest is that of the context's files, and what would be pushed is recorded."""

import hashlib
import json
import os
import sys
from pathlib import Path
from urllib.parse import urlsplit

given = {name.removeprefix("INPUT_"): value for name, value in os.environ.items() if name.startswith("INPUT_")}
context = Path(given["CONTEXT"])
recipe = Path(given.get("FILE") or context / "Dockerfile")
if not recipe.is_file():
    sys.exit(f"ERROR: failed to read dockerfile: open {recipe}: no such file or directory")
files = sorted(path for path in context.rglob("*") if path.is_file() and ".git" not in path.parts)
image = hashlib.sha256()
for path in [*files, recipe]:
    image.update(f"{path.name} {hashlib.sha256(path.read_bytes()).hexdigest()}\n".encode())
digest = f"sha256:{image.hexdigest()}"
tags = given.get("TAGS", "").replace(",", "\n").split()
record = {"run": os.environ["GITHUB_RUN_ID"], "job": os.environ["GITHUB_JOB"], "action": "push"}
if given["PUSH"] == "true":
    with Path(urlsplit(os.environ["ACTIONS_RESULTS_URL"]).path).open("a") as lines:
        lines.write(json.dumps({**record, "digest": digest, "tags": tags}) + "\n")
with Path(os.environ["GITHUB_OUTPUT"]).open("a") as outputs:
    metadata = {"containerimage.digest": digest, "image.name": ",".join(tags)}
    outputs.write(f"digest={digest}\nimageid={digest}\nmetadata={json.dumps(metadata)}\n")
