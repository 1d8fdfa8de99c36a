"""Names images and tags."""

import os
from pathlib import Path

sha = os.environ["GITHUB_SHA"]


def tag(line: str) -> str:
    fields = dict(field.split("=", 1) for field in line.split(","))
    return fields["value"] if fields["type"] == "raw" else f"{fields.get('prefix', 'sha-')}{sha[:7]}"


tags = [tag(line.strip()) for line in os.environ["INPUT_TAGS"].splitlines() if line.strip()]
names = [f"{image}:{each}" for image in os.environ["INPUT_IMAGES"].split() for each in tags]
source = f"{os.environ['GITHUB_SERVER_URL']}/{os.environ['GITHUB_REPOSITORY']}"
labels = [f"org.opencontainers.image.revision={sha}", f"org.opencontainers.image.source={source}"]
with Path(os.environ["GITHUB_OUTPUT"]).open("a") as outputs:
    for name, values in (("tags", names), ("labels", labels), ("version", tags[:1])):
        outputs.write("\n".join([f"{name}<<END", *values, "END\n"]))
