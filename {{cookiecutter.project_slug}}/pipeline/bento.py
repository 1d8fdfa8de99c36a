"""Build the Bento, the service with its model, into the file that is measured and released.

    python -m pipeline.bento          builds it
    python -m pipeline.bento same     whether build/service.bento, of another machine, is what this checkout builds

What trains could write into a Bento that it builds beside its training: main's release asks for `same`, on a machine
where nothing was trained.
"""

import argparse
import os
import re
import subprocess
import tarfile
import tempfile
from hashlib import sha256
from pathlib import Path, PurePosixPath

from pipeline.params import BadInput, run_stage

BENTO = Path("build/service.bento")


def build(bento: Path) -> str:
    """Build the Bento from this checkout and its model into a file; its tag. Raises BadInput where BentoML fails."""
    os.environ.setdefault("BENTOML_HOME", str(Path("build/bentoml").resolve()))
    tag = bentoml("build", "--output", "tag", ".").removeprefix("__tag__:")
    bento.parent.mkdir(exist_ok=True)
    bento.unlink(missing_ok=True)
    bentoml("export", tag, str(bento.resolve()))  # a relative path is taken below /
    return tag


def same() -> None:
    """Raises BadInput where the Bento that lies here holds another file than the one that this checkout builds."""
    with tempfile.TemporaryDirectory() as folder:
        built = Path(folder) / BENTO.name
        build(built)
        theirs, ours = held(BENTO), held(built)
    if other := sorted(name for name in theirs.keys() | ours.keys() if theirs.get(name) != ours.get(name)):
        raise BadInput(
            f"{BENTO} is not what this checkout builds, as {other[0]} tells: look at what ran where it was made, and "
            "whether that was this Python"
        )
    print(f"{BENTO}: what this checkout builds, {len(ours)} files")


def held(bento: Path) -> dict[str, str]:
    """The sha256 of each file of a Bento, by its path. Raises BadInput where it holds something else."""
    found = {}
    try:
        with tarfile.open(bento) as tar:
            for member in tar:
                name = str(PurePosixPath(member.name))
                file = tar.extractfile(member) if member.isfile() else None
                if name in found or not (file or member.isdir()):
                    raise BadInput(f"{bento} holds {name!r} twice, or as no plain file; build it again")
                if file:
                    whole = file.read()
                    found[name] = sha256(DATED.sub(b"", whole) if name == "bento.yaml" else whole).hexdigest()
    except (OSError, EOFError, tarfile.TarError) as error:
        raise BadInput(f"{bento} cannot be read ({' '.join(str(error).split())}); build it again") from None
    return found


DATED = re.compile(rb"^(version|creation_time): .*\n", re.MULTILINE)
"""Lines of bento.yaml that differ from one build to the next."""


def bentoml(command: str, *arguments: str) -> str:
    """What a command of BentoML prints. Raises BadInput with its last words where it fails."""
    done = subprocess.run(["bentoml", command, *arguments], capture_output=True, text=True)
    if done.returncode:
        raise BadInput(f"`bentoml {command}` failed: {' | '.join(done.stderr.strip().splitlines()[-3:])}")
    return done.stdout.strip()


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m pipeline.bento", description="The service with its model.")
    parser.add_argument("what", nargs="?", choices=("same",), help="build nothing: is the one that lies here the same?")
    if parser.parse_args().what:
        same()
    else:
        print(f"{BENTO}: {build(BENTO)}")


if __name__ == "__main__":
    run_stage(main)
