"""`make demo`: bake, run the pipeline, serve the model, score a transaction, and make a page to look at."""

import json
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

from tests import baking
from tests.serving import served

DEMO = baking.ROOT / "demo"
STEPS = 5
PAYMENT = {
    "transaction_id": 1,
    "tx_amount": 320,
    "tx_during_weekend": 0,
    "tx_during_night": 1,
    "customer_nb_tx_1d": 3,
    "customer_avg_amount_1d": 130,
    "customer_nb_tx_7d": 15,
    "customer_avg_amount_7d": 58,
    "customer_nb_tx_30d": 64,
    "customer_avg_amount_30d": 44,
    "terminal_nb_tx_1d": 1,
    "terminal_risk_1d": 0,
    "terminal_nb_tx_7d": 6,
    "terminal_risk_7d": 0,
    "terminal_nb_tx_30d": 29,
    "terminal_risk_30d": 0,
}
"""320.00 by a card that usually pays about 40.00; README.md of a bake sends the same."""


def main() -> None:
    """The story, a heading a step; the first command that fails ends it."""
    repository = bake()
    step(2, "Run the pipeline on simulated data: validate, train, test")
    make(repository, "pipeline")
    step(3, "Build the Bento and serve it")
    with served(repository) as address:
        print(f"  ready on {address}")
        step(4, "Score two payments of a card that usually pays about 40.00")
        for payment in (PAYMENT | {"tx_amount": 38}, PAYMENT):
            print(f"  {payment['tx_amount']:7.2f}  ->  {score(address, payment):.4f}")
    step(5, "Write the page")
    make(repository, "report")
    page = repository / "reports" / "index.html"
    print(f"\nOpen {page.as_uri()}\nThe repository is in {repository}: `make help` there lists what it can do.")


def bake() -> Path:
    """A new bake in demo/; what an earlier demo left makes way, unless somebody has worked in it."""
    step(1, "Bake a repository")
    repository = DEMO / "card-fraud"
    if repository.exists():
        clear(repository)
    DEMO.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        done = baking.cookiecutter(baking.template(Path(folder)), DEMO)
    if done.returncode:
        sys.exit(done.stdout)
    subprocess.run(["git", "log", "--oneline", "--stat", "--stat-count=8"], cwd=repository, check=True)
    return repository


def clear(repository: Path) -> None:
    """Removes an earlier demo's repository, or moves it aside where it has commits or changes of somebody's own."""
    status = subprocess.run(["git", "status", "--porcelain"], cwd=repository, capture_output=True, text=True)
    log = subprocess.run(["git", "log", "--format=%h"], cwd=repository, capture_output=True, text=True)
    if status.returncode or status.stdout or len(log.stdout.split()) > 1:
        aside = repository.with_name(f"{repository.name}-{time.strftime('%Y%m%d-%H%M%S')}")
        repository.rename(aside)
        print(f"There is work in the last demo's repository: it is now {aside}")
    else:
        shutil.rmtree(repository)


def score(address: str, payment: dict[str, float]) -> float:
    """What the served model says of a payment."""
    request = urllib.request.Request(
        f"{address}/predict",
        data=json.dumps({"rows": [payment]}).encode(),
        headers={"content-type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=10) as answer:
        return float(json.load(answer)["predictions"][0]["score"])


def make(repository: Path, target: str) -> None:
    """Runs make in the repository, its words on this terminal; ends the demo where it fails."""
    done = subprocess.run(["make", "--no-print-directory", target], cwd=repository)
    if done.returncode:
        sys.exit(f"`make {target}` failed in {repository}: the reason is above")


def step(number: int, what: str) -> None:
    """A heading."""
    print(
        f"\n\033[1m[{number}/{STEPS}] {what}\033[0m" if sys.stdout.isatty() else f"\n[{number}/{STEPS}] {what}",
        flush=True,
    )


if __name__ == "__main__":
    main()
