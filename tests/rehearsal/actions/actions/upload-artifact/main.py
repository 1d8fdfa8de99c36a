"""Zips the files and hands them to the forge, under a name that is new in this run."""

import glob
import io
import json
import os
import sys
import urllib.error
import urllib.request
import zipfile
from pathlib import Path
from urllib.parse import quote

given = {name.removeprefix("INPUT_"): value for name, value in os.environ.items() if name.startswith("INPUT_")}
env = os.environ
hidden = given["INCLUDE-HIDDEN-FILES"] == "true"


def search(pattern: str) -> set[Path]:
    """The files that a pattern names, and those below the folders that it names."""
    found = [Path(path).absolute() for path in glob.glob(pattern, recursive=True, include_hidden=hidden)]
    below = [file for path in found for file in (path.rglob("*") if path.is_dir() else [path])]
    return {file for file in below if file.is_file()}


def visible(file: Path) -> bool:
    return hidden or not any(part.startswith(".") for part in file.relative_to(root).parts)


def start(pattern: str) -> str:
    """The folder that a pattern's files are named from: itself, or its part before the first wildcard."""
    plain = pattern.split("*")[0].split("?")[0]
    return str(Path(plain if plain == pattern and Path(plain).is_dir() else os.path.dirname(plain)).absolute())


patterns = given["PATH"].split("\n")
wanted = [pattern.strip() for pattern in patterns if pattern.strip() and not pattern.strip().startswith("!")]
unwanted = [pattern.strip()[1:] for pattern in patterns if pattern.strip().startswith("!")]
root = os.path.commonpath([start(pattern) for pattern in wanted])
excluded = set().union(*map(search, unwanted)) if unwanted else set()
files = sorted(file for file in set().union(*map(search, wanted)) - excluded if visible(file))
if not files:
    message = f"No files were found with the provided path: {given['PATH'].strip()}. No artifacts will be uploaded."
    kind = given["IF-NO-FILES-FOUND"]
    if kind != "ignore":
        print(f"::{'error' if kind == 'error' else 'warning'}::{message}")
    sys.exit(kind == "error")
packed = io.BytesIO()
with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED, compresslevel=int(given["COMPRESSION-LEVEL"])) as archive:
    for file in files:
        archive.write(file, file.relative_to(root))
query = f"?overwrite={given['OVERWRITE']}&retention_days={given.get('RETENTION-DAYS', '')}"
repository, run = env["GITHUB_REPOSITORY"], env["GITHUB_RUN_ID"]
url = f"{env['GITHUB_API_URL']}/repos/{repository}/actions/runs/{run}/artifacts/{quote(given['NAME'], safe='')}{query}"
headers = {"Authorization": f"Bearer {env['ACTIONS_RUNTIME_TOKEN']}"}
try:
    with urllib.request.urlopen(urllib.request.Request(url, packed.getvalue(), headers, method="PUT")) as response:
        answer = json.load(response)
except urllib.error.HTTPError as error:
    sys.exit(f"Failed to CreateArtifact: Received non-retryable error: {error.read().decode()}")
with Path(env["GITHUB_OUTPUT"]).open("a") as outputs:
    page = f"{env['GITHUB_SERVER_URL']}/{repository}/actions/runs/{run}/artifacts/{answer['id']}"
    digest = answer["digest"].removeprefix("sha256:")
    outputs.write(f"artifact-id={answer['id']}\nartifact-url={page}\nartifact-digest={digest}\n")
print(f"Artifact {given['NAME']} has been successfully uploaded: {len(files)} files, {len(packed.getvalue())} bytes")
