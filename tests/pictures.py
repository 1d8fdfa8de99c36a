"""The README's pictures of a model that is served: its own page, and the dashboard that watches it.

`python -m tests.pictures [FOLDER]` promotes a model of each of two tasks on the rehearsed GitHub, serves the Bento that
was released, asks it for a while with Prometheus beside it, and has the tests' browser take the pictures. It needs what
`make monitor` needs, and a Chromium.
"""

import importlib.util
import io
import json
import subprocess
import sys
import tarfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import polars as pl

from tests import baking, serving
from tests.defects.world import World, worlds

WORLDS = {"bank": "fraud", "maintenance": "maintenance"}
SECONDS, PAUSE, ROWS = 100, 0.25, 40  # of traffic; between requests; of the largest request
WIDE, TALL = 1200, 1850  # pixels
TRAFFIC = Path(__file__).with_name("traffic.py")
PYTHON = str(baking.VENV / "bin" / "python")


def main() -> None:
    """Take them."""
    into = Path(sys.argv[1] if sys.argv[1:] else "docs").absolute()
    with worlds() as made:
        for world, name in WORLDS.items():
            take(made(world), name, into)


def take(world: World, name: str, into: Path) -> None:
    """The pictures of one world's model."""
    repository, folder = world.project.folder, world.folder / "pictures"
    with tarfile.open(fileobj=io.BytesIO(world.project.asset("service.bento"))) as bento:
        bento.extractall(folder, filter="data")
    manifest = json.loads(world.read("deploy/production/manifest.json"))
    (folder / "MODEL_CARD.md").write_text(world.read("deploy/production/MODEL_CARD.md"))
    said = {
        "MODEL_CARD": str(folder / "MODEL_CARD.md"),
        "PROMOTED_MODEL": manifest["model"],
        "PREDICTION_LOG": str(folder / "log"),
    }
    command = [str(baking.VENV / "bin" / "bentoml"), "serve", ".", "--host", "127.0.0.1", "--port"]
    home = {"BENTOML_HOME": str(folder / "home"), "PREDICTION_LOG_SECONDS": "2"}
    rows = asked(world, repository, folder / "rows.parquet")
    with (
        serving.listening(lambda port: [*command, str(port)], folder, **said, **home) as address,
        watched(repository, address) as dashboard,
        browser().opened() as page,
    ):
        ask(address, rows)
        page.open(dashboard, WIDE, 1000)
        page.until("document.querySelectorAll('svg').length > 3")
        page.picture(into / f"dashboard-{name}.png")
        page.open(f"{address}/", WIDE)
        page.until("document.querySelector('form [name]')")
        for column, value in rows.row(0, named=True).items():
            box = f"document.getElementsByName({json.dumps(column)})[0]"
            if value is not None and page.run(f"Boolean({box})"):
                page.run(f"{box}.value = {json.dumps(str(value))}")
        page.click("form button")
        page.until("!document.querySelector('#answer').hidden")
        page.picture(into / f"page-{name}.png", TALL)


def browser() -> Any:
    """The module that the bake's tests drive a browser with."""
    path = baking.ROOT / "{{cookiecutter.project_slug}}" / "tests" / "browser.py"
    spec = importlib.util.spec_from_file_location("browser", path)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def asked(world: World, repository: Path, file: Path) -> pl.DataFrame:
    """What callers ask in the test week."""
    last = world.until
    command = [PYTHON, str(TRAFFIC), "rows", str(last - timedelta(days=6)), str(last), str(file)]
    subprocess.run(command, cwd=repository, check=True)
    rows = pl.read_parquet(file)
    return rows.drop(rows.columns[1])  # it happens now


def ask(address: str, rows: pl.DataFrame) -> None:
    """Requests of one to ROWS rows, for SECONDS."""
    until, at = time.monotonic() + SECONDS, 0
    while time.monotonic() < until:
        some = rows.slice(at % len(rows), 1 + at % ROWS)
        serving.ask(address, some)
        at += len(some)
        time.sleep(PAUSE)


@contextmanager
def watched(repository: Path, address: str) -> Iterator[str]:
    """The address of the dashboard, with Prometheus behind it."""
    command = [PYTHON, "-m", "deploy.monitoring.local", "--port", address.rpartition(":")[2]]
    watch = subprocess.Popen(command, cwd=repository, stdout=subprocess.PIPE, text=True)
    try:
        assert watch.stdout
        yield watch.stdout.readline().split()[0]
    finally:
        watch.terminate()
        watch.wait(timeout=30)


if __name__ == "__main__":
    main()
