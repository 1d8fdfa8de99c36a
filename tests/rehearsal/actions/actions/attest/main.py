"""Signs nothing: the subjects and their digests are recorded, and a bundle is written."""

import glob
import hashlib
import json
import os
import sys
from pathlib import Path
from urllib.parse import urlsplit

given = {name.removeprefix("INPUT_"): value for name, value in os.environ.items() if name.startswith("INPUT_")}
patterns = given.get("SUBJECT-PATH", "").replace(",", "\n").split()
files = sorted(Path(path) for pattern in patterns for path in glob.glob(pattern, recursive=True))
subjects = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in files if path.is_file()}
if given.get("SUBJECT-NAME"):
    subjects[given["SUBJECT-NAME"]] = given["SUBJECT-DIGEST"].removeprefix("sha256:")
if not subjects:
    sys.exit("Could not find subject at path " + given.get("SUBJECT-PATH", ""))
record = {"run": os.environ["GITHUB_RUN_ID"], "job": os.environ["GITHUB_JOB"], "action": "attest", "subjects": subjects}
with Path(urlsplit(os.environ["ACTIONS_RESULTS_URL"]).path).open("a") as lines:
    lines.write(json.dumps(record) + "\n")
bundle = Path(os.environ["RUNNER_TEMP"], "attestation.json")
bundle.parent.mkdir(parents=True, exist_ok=True)
bundle.write_text(json.dumps(subjects))
with Path(os.environ["GITHUB_OUTPUT"]).open("a") as outputs:
    page = f"{os.environ['GITHUB_SERVER_URL']}/{os.environ['GITHUB_REPOSITORY']}/attestations/1"
    outputs.write(f"bundle-path={bundle}\nattestation-id=1\nattestation-url={page}\n")
