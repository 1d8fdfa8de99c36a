"""Revokes the token, unless asked not to."""

import os
import urllib.request

if os.environ.get("STATE_TOKEN") and os.environ["INPUT_SKIP-TOKEN-REVOKE"] != "true":
    headers = {"Authorization": f"Bearer {os.environ['STATE_TOKEN']}"}
    url = f"{os.environ['GITHUB_API_URL']}/installation/token"
    urllib.request.urlopen(urllib.request.Request(url, headers=headers, method="DELETE")).close()
