"""GitHub on this machine, as much of it as the loop uses.

`with Forge(folder) as forge` serves `forge.api_url` (REST v3) and `forge.url` (git over HTTP, downloads) until it ends.
Read in this order: git (a bare repository), state (accounts, tokens, repositories, events), pulls, rules, merge_queue
(what moves and merges a pull request), environments, api (the routes), server (HTTP, faults, subscribers).
"""

from .server import Fault, Forge, Made
from .state import Actor, Event, Refused, Repo

__all__ = ["Actor", "Event", "Fault", "Forge", "Made", "Refused", "Repo"]
