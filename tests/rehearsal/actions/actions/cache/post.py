"""Saves the paths under the key, in the scope of this run's ref, unless the exact key was there."""

import os
import tarfile

from shelf import KEY, PATHS, entry

file = entry(os.environ["GITHUB_REF"], KEY)
if os.environ.get("STATE_MATCHED") != KEY and not file.exists():
    file.parent.mkdir(parents=True, exist_ok=True)
    partial = file.with_suffix(f".{os.getpid()}")
    with tarfile.open(partial, "w:gz", compresslevel=1) as tar:
        for path in filter(os.path.exists, map(os.path.expanduser, PATHS)):
            # Also right for ~/.cache: the home of every job is as far from its workspace.
            tar.add(path, arcname=os.path.relpath(path))
    partial.rename(file)
    print(f"Cache saved with key: {KEY}")
