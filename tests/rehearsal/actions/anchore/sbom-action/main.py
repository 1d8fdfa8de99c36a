"""Writes a bill of materials that names its subject and nothing in it."""

import json
import os
from pathlib import Path

subject = os.environ.get("INPUT_IMAGE") or os.environ.get("INPUT_PATH") or "."
if file := os.environ.get("INPUT_OUTPUT-FILE"):
    Path(file).write_text(json.dumps({"spdxVersion": "SPDX-2.3", "name": subject, "packages": []}))
