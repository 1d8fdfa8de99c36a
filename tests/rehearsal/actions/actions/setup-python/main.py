"""Puts the prepared environment of this runner in front of PATH."""

import os
from pathlib import Path

binaries = Path(os.environ["VENV"], "bin")
with Path(os.environ["GITHUB_PATH"]).open("a") as path:
    path.write(f"{binaries}\n")
with Path(os.environ["GITHUB_OUTPUT"]).open("a") as outputs:
    outputs.write(f"python-path={binaries / 'python'}\n")
