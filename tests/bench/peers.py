"""What a pull request costs two peers, counted on 2026-11-26 from their own files at the commits below.

databricks/mlops-stacks: its template with the default answers on AWS and GitHub Actions, and a request that changes the
project's folder, which starts two workflows and four jobs. swiss-ai-center/a-guide-to-mlops: the workflow of its
chapter 3.6, the last that runs on GitHub's own runners, with the requirements of chapter 3.1; from chapter 3.7 on the
same installation runs on the reader's Kubernetes. The workflow of that repository itself only publishes the guide.

Installed: pip and the requirements as the job has them, resolved on that day from the public index, in an empty
environment of the Python that it names; the bytes of its files less those of an environment with pip alone. npm's
packages were added in the same way, without the binaries that their scripts download. Megabytes are 10^6 bytes.
Kept: what GitHub holds afterwards, words aside. pip's cache is the files that pip downloads, as one zstd archive; one
is held for each state of the requirements, and none is added where main holds it already. Neither uploads an artifact
or an image for a request.
Minutes: the least that GitHub bills, as no run of theirs can be had here. GitHub rounds each job up to a minute, and a
job takes at least the processor seconds of those of its commands that run without an account: pip, tests, training.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import ceil
from typing import Any


@dataclass(frozen=True)
class Job:
    """One job of a peer's workflow: what could be counted, and in words what could not."""

    name: str
    uncounted: str
    installed: float = 0  # MB
    kept: float = 0  # MB
    seconds: float = 0  # of a processor


@dataclass(frozen=True)
class Peer:
    """A peer's jobs on a pull request."""

    repository: str
    commit: str
    jobs: tuple[Job, ...]

    def costs(self) -> dict[str, float]:
        """By the names of MEASURES."""
        return {
            "minutes": sum(max(1, ceil(job.seconds / 60)) for job in self.jobs),
            "installed": sum(job.installed for job in self.jobs),
            "kept": sum(job.kept for job in self.jobs),
        }


CLI = "the Databricks CLI, a download from GitHub's releases"
PEERS = (
    Peer(
        "databricks/mlops-stacks",
        "13a10ebf6a3fbb90c93efad7bce833811052b58e",
        (
            Job("staging", f"{CLI}; the workspace's answer"),
            Job("prod", f"{CLI}; the workspace's answer"),
            # The file says 3.10 without quotes, which YAML reads as 3.1; counted with Python 3.10, as is meant.
            Job("unit_tests", "nothing", installed=974.0, seconds=54.5),
            Job("integration_test", f"{CLI}; the training on a Databricks cluster, for which the job waits"),
        ),
    ),
    Peer(
        "swiss-ai-center/a-guide-to-mlops",
        "c13c891ca2fc0b457dbad80dbb4ad78a7eb3c89a",
        (
            Job(
                "train-report-publish-and-deploy",
                "CML's binary, a download from GitHub's releases; DVC's traffic with the bucket; the report",
                installed=2616.9 + 67.2,  # pip; vega by npm, which the CML action brings
                kept=714.1,
                seconds=83.3 + 23.5,  # pip, of one process; its pipeline, trained on the images of the branch `data`
            ),
        ),
    ),
)
MEASURES = {
    "minutes": ("a pull request's minutes, at least", "min"),
    "installed": ("a pull request installs", "MB"),
    "kept": ("a first pull request leaves on GitHub", "MB"),
}


def beside(ours: Mapping[str, float]) -> Iterator[dict[str, Any]]:
    """A row a measure and peer, with no bar; `ours` has a number for each of MEASURES."""
    for measure, (what, unit) in MEASURES.items():
        for peer in PEERS:
            theirs, own = peer.costs()[measure], ours[measure]
            yield {
                "what": f"{what}: {peer.repository.partition('/')[2]}",
                "ours": own,
                "theirs": theirs,
                "unit": unit,
                "ratio": own / theirs if theirs else None,
                "bar": None,
                "reached": True,
            }
