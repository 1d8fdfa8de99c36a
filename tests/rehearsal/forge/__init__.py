"""GitHub on this machine, as much of it as the loop uses: `with Forge(folder) as forge`."""

from .server import Fault, Forge, Made
from .state import Actor, Event, Refused, Repo

__all__ = ["Actor", "Event", "Fault", "Forge", "Made", "Refused", "Repo"]
