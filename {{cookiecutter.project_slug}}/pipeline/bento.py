"""Build the Bento, the service with its model, into the file that is measured and released."""

import os
import subprocess
from pathlib import Path

from pipeline.params import BadInput, run_stage

BENTO = Path("build/service.bento")


def main() -> None:
    """Build the Bento, and export it. Raises BadInput with the last words of BentoML where it fails."""
    os.environ.setdefault("BENTOML_HOME", str(Path("build/bentoml").resolve()))
    tag = bentoml("build", "--output", "tag", ".").removeprefix("__tag__:")
    BENTO.parent.mkdir(exist_ok=True)
    BENTO.unlink(missing_ok=True)
    bentoml("export", tag, str(BENTO.resolve()))  # a relative path is taken below /
    print(f"{BENTO}: {tag}")


def bentoml(command: str, *arguments: str) -> str:
    """What a command of BentoML prints. Raises BadInput with its last words where it fails."""
    done = subprocess.run(["bentoml", command, *arguments], capture_output=True, text=True)
    if done.returncode:
        raise BadInput(f"`bentoml {command}` failed: {' | '.join(done.stderr.strip().splitlines()[-3:])}")
    return done.stdout.strip()


if __name__ == "__main__":
    run_stage(main)
