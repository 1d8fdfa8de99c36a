"""Fetches artifacts from the forge: this run's by the runner's own token, another run's by the one that is given."""

import fnmatch
import io
import json
import os
import sys
import urllib.error
import urllib.request
import zipfile
from pathlib import Path
from typing import Any

given = {name.removeprefix("INPUT_"): value for name, value in os.environ.items() if name.startswith("INPUT_")}
token = given.get("GITHUB-TOKEN") or os.environ["ACTIONS_RUNTIME_TOKEN"]
run = given["RUN-ID"] if given.get("GITHUB-TOKEN") else os.environ["GITHUB_RUN_ID"]
repository = f"{os.environ['GITHUB_API_URL']}/repos/{given['REPOSITORY']}"


def fetch(url: str) -> bytes:
    request = urllib.request.Request(url, headers={"Authorization": f"Bearer {token}"})
    try:
        with urllib.request.urlopen(request) as answer:
            return answer.read()
    except urllib.error.HTTPError as error:
        sys.exit(f"Unable to download artifact(s): {error.code} {error.read().decode()}")


def wanted(artifact: dict[str, Any]) -> bool:
    if given.get("ARTIFACT-IDS"):
        return str(artifact["id"]) in given["ARTIFACT-IDS"].replace(" ", "").split(",")
    if given.get("NAME"):
        return artifact["name"] == given["NAME"]
    return fnmatch.fnmatch(artifact["name"], given.get("PATTERN") or "*")


listed = json.loads(fetch(f"{repository}/actions/runs/{run}/artifacts?per_page=100"))["artifacts"]
newest = {each["name"]: each for each in sorted(listed, key=lambda each: each["id"]) if wanted(each)}
if given.get("NAME") and not newest:
    sys.exit(f"Unable to download artifact(s): Artifact not found for name: {given['NAME']}")
folder = Path(given["PATH"]).expanduser()
flat = given.get("NAME") or given["MERGE-MULTIPLE"] == "true"
for name, artifact in newest.items():
    with zipfile.ZipFile(io.BytesIO(fetch(artifact["archive_download_url"]))) as archive:
        archive.extractall(folder if flat else folder / name)
    print(f"Artifact {name} was downloaded")
with Path(os.environ["GITHUB_OUTPUT"]).open("a") as outputs:
    outputs.write(f"download-path={folder.absolute()}\n")
