"""Makes the bake a git repository with one commit, and says what to do next."""

import json
import os
import shlex
import subprocess
from pathlib import Path

NEUTRAL = ("-c", "user.name=cookiecutter-gitops-ml", "-c", "user.email=cookiecutter-gitops-ml@localhost")

COOKIECUTTER = "{{ cookiecutter._output_dir is defined }}" == "True"
"""Whether cookiecutter itself bakes. cruft renders too, to compare two versions: a .git in either breaks its patch."""


def main() -> None:
    """Keeps what was baked whatever git says: a hook that fails makes cookiecutter delete it."""
    if not COOKIECUTTER:
        print("Rendered. In a new project the first commit is yours, with .cruft.json in it (README.md).")
        return
    if not Path(".git").exists():
        try:
            commit()
        except subprocess.CalledProcessError as error:
            print(f"The first commit is left to you, as git said: {error.stderr.strip()}")
    print(next_steps(json.loads(Path(".cookiecutter.json").read_text(encoding="utf-8"))["answers"]))


def commit() -> None:
    """The first commit, under a neutral identity where git is told none. Raises CalledProcessError.

    What it leaves out is for the bake's own .gitignore to say: nobody's global one may keep a file from it.
    """
    git("init", "--quiet", "--initial-branch=main")
    files = git("ls-files", "-z", "--others", "--exclude-per-directory=.gitignore").stdout
    git("update-index", "-z", "--add", "--stdin", given=files)
    told = git("-c", "user.useConfigOnly=true", "var", "GIT_COMMITTER_IDENT", check=False).returncode == 0
    git(*(() if told else NEUTRAL), "commit", "--quiet", "--message=Bake from cookiecutter-gitops-ml")


def git(*arguments: str, check: bool = True, given: str = "") -> subprocess.CompletedProcess[str]:
    """Runs git here, and not in an outer repository whose hook or alias may have started the bake."""
    outer = subprocess.run(["git", "rev-parse", "--local-env-vars"], capture_output=True, text=True, check=True)
    environment = {key: value for key, value in os.environ.items() if key not in outer.stdout.split()}
    return subprocess.run(
        ["git", *arguments], env=environment, input=given, capture_output=True, text=True, check=check
    )


def next_steps(answers: dict[str, str]) -> str:
    """The commands after a bake, in their order, and where to read on."""
    return f"""
{answers["project_name"]} is ready. Next:

  cd {shlex.quote(os.getcwd())}
  make adopt TABLE=../customers.csv LABEL=churned  # your table, and its column to predict
  make pipeline                                    # data, training, model tests
  make bars                                        # bars by what was measured; read them, and git apply what it says
  git add --all && git commit --amend --no-edit
  gh repo create {answers["github_owner"]}/{answers["project_slug"]} --private --source . --push

Adopt before the first push: GitHub trains what comes first and proposes it for production, and the history keeps it.
To try the example first, start with make pipeline, and push nothing. README.md, "Bring your own problem", says more.
"""


main()
