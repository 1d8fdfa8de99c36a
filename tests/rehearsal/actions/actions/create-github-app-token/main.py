"""Mints an installation token with the permissions that are asked for, as the App that holds the key."""

import json
import os
import re
import time
import urllib.request
from pathlib import Path
from typing import Any

import jwt

given = {
    name.removeprefix("INPUT_"): value for name, value in os.environ.items() if name.startswith("INPUT_") and value
}
now = int(time.time())
issuer = given.get("CLIENT-ID") or given["APP-ID"]
proof = jwt.encode({"iss": issuer, "iat": now - 60, "exp": now + 540}, given["PRIVATE-KEY"], algorithm="RS256")


def call(method: str, path: str, body: dict[str, Any] | None = None) -> Any:
    headers = {"Authorization": f"Bearer {proof}"}
    data = json.dumps(body).encode() if body else None
    request = urllib.request.Request(os.environ["GITHUB_API_URL"] + path, data, headers, method=method)
    with urllib.request.urlopen(request) as answer:
        return json.load(answer)


repository = os.environ["GITHUB_REPOSITORY"]
names = re.split(r"[\s,]+", given.get("REPOSITORIES", repository.split("/")[1]).strip())
permissions = {
    name.removeprefix("PERMISSION-").lower().replace("-", "_"): level
    for name, level in given.items()
    if name.startswith("PERMISSION-")
}
installation = call("GET", f"/repos/{repository}/installation")
wish = {"repositories": names, **({"permissions": permissions} if permissions else {})}
token = call("POST", f"/app/installations/{installation['id']}/access_tokens", wish)["token"]
print(f"::add-mask::{token}")
with Path(os.environ["GITHUB_OUTPUT"]).open("a") as outputs:
    outputs.write(f"token={token}\ninstallation-id={installation['id']}\napp-slug={installation['app_slug']}\n")
with Path(os.environ["GITHUB_STATE"]).open("a") as state:
    state.write(f"TOKEN={token}\n")
