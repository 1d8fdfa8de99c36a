"""Records who logs in where, and fails without a password as the real action does."""

import json
import os
import sys
from pathlib import Path
from urllib.parse import urlsplit

given = {name.removeprefix("INPUT_"): value for name, value in os.environ.items() if name.startswith("INPUT_")}
if not given.get("USERNAME") or not given.get("PASSWORD"):
    sys.exit("Username and password required")
record = {"run": os.environ["GITHUB_RUN_ID"], "job": os.environ["GITHUB_JOB"], "action": "login"}
with Path(urlsplit(os.environ["ACTIONS_RESULTS_URL"]).path).open("a") as lines:
    lines.write(json.dumps({**record, "registry": given["REGISTRY"], "username": given["USERNAME"]}) + "\n")
