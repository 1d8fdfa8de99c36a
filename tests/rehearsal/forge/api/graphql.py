"""GraphQL: the mutations that REST lacks: auto-merge, and the merge queue."""

from graphql import GraphQLError, GraphQLResolveInfo, build_schema, graphql_sync

from .. import merge_queue, pulls
from ..answers import Json
from ..state import Refused
from .routing import Answer, Call, allow, reaches, route

# As in GitHub's public schema, https://docs.github.com/graphql/reference/mutations#enablepullrequestautomerge
SCHEMA = build_schema("""
    scalar DateTime
    scalar GitObjectID
    scalar URI
    enum PullRequestMergeMethod { MERGE REBASE SQUASH }

    type Actor { login: String! }
    type AutoMergeRequest {
        commitBody: String
        commitHeadline: String
        enabledAt: DateTime
        enabledBy: Actor
        mergeMethod: PullRequestMergeMethod!
    }
    type PullRequest { autoMergeRequest: AutoMergeRequest id: ID! number: Int! url: URI! }

    input EnablePullRequestAutoMergeInput {
        authorEmail: String
        clientMutationId: String
        commitBody: String
        commitHeadline: String
        expectedHeadOid: GitObjectID
        mergeMethod: PullRequestMergeMethod = MERGE
        pullRequestId: ID!
    }
    type EnablePullRequestAutoMergePayload { actor: Actor clientMutationId: String pullRequest: PullRequest }

    type MergeQueueEntry { position: Int! pullRequest: PullRequest }
    input EnqueuePullRequestInput { clientMutationId: String expectedHeadOid: GitObjectID pullRequestId: ID! }
    type EnqueuePullRequestPayload { clientMutationId: String mergeQueueEntry: MergeQueueEntry }

    type Mutation {
        enqueuePullRequest(input: EnqueuePullRequestInput!): EnqueuePullRequestPayload
        enablePullRequestAutoMerge(input: EnablePullRequestAutoMergeInput!): EnablePullRequestAutoMergePayload
    }
    type Query { viewer: Actor! }
""")
KINDS = {403: "FORBIDDEN", 404: "NOT_FOUND", 422: "UNPROCESSABLE"}


@route("POST /graphql", "POST /api/graphql")
def answer_query(call: Call) -> Answer:
    """The status is 200 with errors too, as GitHub's is."""
    if not call.actor.login:
        raise Refused(401, "This endpoint requires you to be authenticated.")
    body = call.body

    def enable(info: GraphQLResolveInfo, input: Json) -> Json:
        return enable_auto_merge(call, input)

    def add(info: GraphQLResolveInfo, input: Json) -> Json:
        return enqueue(call, input)

    mutations = {"enablePullRequestAutoMerge": enable, "enqueuePullRequest": add}
    root = {"viewer": {"login": call.actor.login}, **mutations}
    done = graphql_sync(SCHEMA, body["query"], root, variable_values=body.get("variables"))
    data = {} if done.data is None else {"data": done.data}
    return Answer(200, data | ({"errors": [shown(error) for error in done.errors]} if done.errors else {}))


def shown(error: GraphQLError) -> Json:
    """An error as GitHub puts it: what kind it is stands beside the message."""
    refused = error.original_error
    kind = {"type": KINDS[refused.status]} if isinstance(refused, Refused) else {}
    return kind | {name: value for name, value in error.formatted.items() if name != "extensions"}


def enable_auto_merge(call: Call, asked: Json) -> Json:
    number = find_pull(call, asked["pullRequestId"])
    wishes = {"merge_method": asked["mergeMethod"].lower(), "sha": asked.get("expectedHeadOid")}
    wishes |= {"commit_title": asked.get("commitHeadline"), "commit_message": asked.get("commitBody")}
    pull = pulls.enable_auto_merge(call.state, call.repo, call.actor, number, wishes)
    enabler = {"login": call.actor.login}
    request = asked | {"enabledBy": enabler, "enabledAt": call.state.now()}
    shown_pull = {"id": pull["node_id"], "number": number, "url": pull["html_url"], "autoMergeRequest": request}
    return asked | {"actor": enabler, "pullRequest": shown_pull}


def enqueue(call: Call, asked: Json) -> Json:
    number = find_pull(call, asked["pullRequestId"])
    place = merge_queue.enqueue(call.state, call.repo, call.actor, number, asked.get("expectedHeadOid"))
    pull = call.repo.row("pulls", number)
    shown_pull = {"id": pull["node_id"], "number": number, "url": pull["html_url"]}
    return asked | {"mergeQueueEntry": {"position": place, "pullRequest": shown_pull}}


def find_pull(call: Call, node: str) -> int:
    """The pull request of a global id, where the caller may know of it and merge it."""
    for repo in call.state.repositories.values():
        for number, pull in repo.tables["pulls"].items():
            if pull["node_id"] == node and reaches(call.state, repo, call.actor):
                call.repo = repo
                for grant in ("contents:write", "pull_requests:write"):
                    allow(call, grant)
                return number
    raise Refused(404, f"Could not resolve to a node with the global id of '{node}'")
