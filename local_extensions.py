"""Refuses a bake that could not work: one sentence, before a folder is made.

A pre_gen_project hook would come too late: cookiecutter has made the folder by then (two of them for the slug `a/b`,
one outside the target for `../x`), and prints a traceback after the hook's own words.
"""

import re
import shutil
from collections.abc import Mapping

from cookiecutter.exceptions import FailedHookException
from jinja2 import Environment
from jinja2.ext import Extension

LOGIN = r"[A-Za-z0-9](?:[-_]?[A-Za-z0-9]){0,38}"
OWNER = rf"@{LOGIN}(?:/[A-Za-z0-9_-]+)?"
LINE = r"[^\x00-\x1f\x7f\x85\u2028\u2029]"

ALLOWED = {
    "project_name": (rf"(?=.*\S){LINE}{{1,100}}", "one line of 1 to 100 characters, such as Card Fraud"),
    "project_slug": (
        r"(?!.*\.git$)[A-Za-z0-9_][A-Za-z0-9._-]{0,99}",
        "the name of a GitHub repository: 1 to 100 letters, digits, dots, hyphens and underscores, "
        "with no dot or hyphen first and no .git at the end, such as card-fraud",
    ),
    "description": (rf"{LINE}{{0,350}}", "one line of at most 350 characters"),
    "github_owner": (LOGIN, "a GitHub user or organisation: letters, digits and single hyphens, such as my-org"),
    "team": (OWNER, "a GitHub user or team, such as @octocat or @my-org/fraud"),
    "bar_owners": (OWNER, "a GitHub user or team, such as @octocat or @my-org/risk"),
}
"""What each answer has to match in full, and how to say so."""


class Refused(FailedHookException):
    """Ends cookiecutter with the sentence alone: it prints no traceback for this exception's kind."""


class Answers(Extension):
    """Gives cookiecutter.json the filter `checked`, which runs when all questions are answered."""

    def __init__(self, environment: Environment) -> None:
        super().__init__(environment)
        if shutil.which("git") is None:
            raise Refused("git is needed to bake a repository and was not found: install it, then bake again.")
        environment.filters["checked"] = checked


def checked(answers: Mapping[str, str]) -> str:
    """An empty string. Raises Refused for the first answer that is not allowed."""
    for question, (pattern, allowed) in ALLOWED.items():
        if not re.fullmatch(pattern, answers[question]):
            raise Refused(f"{question} is {answers[question]!r}, and has to be {allowed}.")
    return ""
