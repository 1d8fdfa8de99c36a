"""GitHub's REST v3, as much as the loop uses: routes by topic, one small function each."""

from . import accounts, issues, objects, pull_requests, releases, runs
from .routing import Answer, Call, allow, authenticate, respond, visible

__all__ = ["Answer", "Call", "allow", "authenticate", "respond", "visible"]
TOPICS = (accounts, issues, objects, pull_requests, releases, runs)  # importing them fills the table of routes
