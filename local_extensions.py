"""Refuses a bake that could not work: one sentence, before a folder is made.

A pre_gen_project hook would come too late: cookiecutter has made the folder by then (two of them for the slug `a/b`,
one outside the target for `../x`), and prints a traceback after the hook's own words.
"""

import re
import shutil
from collections.abc import Mapping
from typing import Any

from cookiecutter.exceptions import FailedHookException
from jinja2 import Environment
from jinja2.ext import Extension

FOLDER = "{{cookiecutter.project_slug}}"
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
    """Checks the answers when the bake's folder gets its name: asked, replayed and configured ones alike come by."""

    def __init__(self, environment: Environment) -> None:
        super().__init__(environment)
        if shutil.which("git") is None:
            raise Refused("git is needed to bake a repository and was not found: install it, then bake again.")
        environment.filters["checked"] = checked

    def preprocess(self, source: str, name: str | None, filename: str | None = None) -> str:
        """The source of a template, as it is; the folder's name calls the filter first."""
        return "{{ cookiecutter | checked }}" + source if source == FOLDER else source


def checked(answers: Mapping[str, Any]) -> str:
    """An empty string. Raises Refused for the first answer that is not allowed."""
    for question, (pattern, allowed) in ALLOWED.items():
        answer = answers.get(question)
        if not (isinstance(answer, str) and re.fullmatch(pattern, answer)):
            raise Refused(f"{question} is {answer!r}, and has to be {allowed}.")
    return ""
