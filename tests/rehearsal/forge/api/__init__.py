"""GitHub's REST v3 and a little GraphQL, as much as the loop uses: routes by topic, one small function each."""

from . import accounts, graphql, issues, objects, pull_requests, releases, runs
from .routing import Answer, Call, allow, authenticate, respond, visible

__all__ = ["Answer", "Call", "allow", "authenticate", "respond", "visible"]
TOPICS = (accounts, graphql, issues, objects, pull_requests, releases, runs)  # importing them fills the table of routes
