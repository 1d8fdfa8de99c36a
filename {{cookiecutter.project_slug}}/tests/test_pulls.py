"""What GitHub's answers have to hold, and which faults are waited for."""

import io
import json
import shutil
import sys
import zipfile
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import pytest
import requests
from requests.adapters import BaseAdapter

from gitops import __main__ as gitops
from gitops import doctor, pulls
from tests.tables import ROOT, write_policies

ADDRESS = {"GITHUB_API_URL": "https://forge", "GITHUB_TOKEN": "t", "GITHUB_REPOSITORY": "acme/fraud"}
READ: dict[str, Any] = {
    "id": 7,
    "full_name": "acme/fraud",
    "url": "https://forge/repos/acme/fraud",
    "html_url": "https://pages/acme/fraud",
    "default_branch": "main",
    "owner": {"login": "acme", "type": "Organization"},
}


class Forge(BaseAdapter):
    """Answers each call with the next of `answers`, the last one again and again: a status, headers and a body."""

    def __init__(self) -> None:
        super().__init__()
        self.answers: list[Any] = []
        self.calls: list[str] = []
        self.waits: list[float] = []

    def send(self, request: requests.PreparedRequest, *_: Any, **__: Any) -> requests.Response:
        self.calls.append(f"{request.method} {request.url}")
        status, headers, body = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        response = requests.Response()
        response.status_code, response.request, response.url = status, request, str(request.url)
        response.headers.update(headers)
        response._content = body if isinstance(body, bytes) else json.dumps(body).encode()
        return response

    def close(self) -> None:
        pass


@pytest.fixture
def forge(monkeypatch: pytest.MonkeyPatch) -> Forge:
    there, make = Forge(), pulls.GitHubSession

    def session() -> requests.Session:
        made = make()
        made.mount("https://", there)
        return made

    monkeypatch.setattr(pulls, "GitHubSession", session)
    monkeypatch.setattr(pulls.time, "sleep", there.waits.append)
    return there


def test_a_repository_needs_only_what_is_read_of_it(forge: Forge) -> None:
    """github3's own class needs every field that it knows: one that a server leaves out would end everything."""
    forge.answers = [(200, {}, READ)]
    here = pulls.repository(ADDRESS)
    assert (here.id, here.default_branch, here.owner.login) == (7, "main", "acme")


@pytest.mark.parametrize("field", READ)
def test_a_field_that_is_needed_and_left_out_is_named_at_once(forge: Forge, field: str) -> None:
    forge.answers = [(200, {}, {name: value for name, value in READ.items() if name != field})]
    with pytest.raises(pulls.BadAnswer, match=f"no field `{field}`, only "):
        pulls.repository(ADDRESS)
    assert forge.waits == []


def test_doctor_goes_on_where_an_answer_lacks_a_field(
    forge: Forge, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_policies(tmp_path)
    for path in (ROOT / "policies").glob("ruleset*.json"):
        shutil.copy(path, tmp_path / "policies")
    monkeypatch.chdir(tmp_path)
    for name, value in ADDRESS.items():
        monkeypatch.setenv(name, value)
    forge.answers = [(200, {}, READ), (200, {}, {})]
    with pytest.raises(SystemExit):
        doctor.doctor()
    told = capsys.readouterr().out
    assert "? Actions: an answer has no field `default_workflow_permissions`" in told
    assert "? Workflows: an answer has no field `workflows`" in told


def test_what_gitops_did_not_write_may_lack_an_author_and_words(forge: Forge) -> None:
    """The account of its author is gone; and GitHub's schema asks for neither."""
    forge.answers = [(200, {}, READ), (200, {}, [{"user": None, "body": "x"}, {}, {"user": {"login": pulls.BOT}}])]
    assert pulls.comments(pulls.repository(ADDRESS), 1, "x") == []


def date(seconds: float) -> str:
    """A moment from now, as HTTP writes it."""
    return format_datetime(datetime.now(UTC) + timedelta(seconds=seconds), usegmt=True)


TOO_FAST = {"message": "You have exceeded a secondary rate limit. Please wait a few minutes before you try again."}
PASSING: dict[str, Any] = {
    "an outage": (1, 502, {}, b"<html>"),
    "a lost race": (1, 409, {}, {}),
    "too many": (60, 429, {}, {}),
    "as long as it says": (7, 403, {"Retry-After": "7"}, {}),
    "an outage, as long as it says": (7, 503, {"Retry-After": "7"}, b"<html>"),
    "longer than a job has": (pulls.LONGEST, 403, {"Retry-After": "3600"}, TOO_FAST),
    "until a date": (30, 403, {"Retry-After": 30}, TOO_FAST),
    "until a date, by a proxy": (30, 503, {"Retry-After": 30}, b"<html>"),
    "until a date that is over": (1, 429, {"Retry-After": -9}, {}),
    "until nobody knows when": (60, 403, {"Retry-After": "soon"}, TOO_FAST),
    "the hour's calls are used up": (1, 403, {"X-RateLimit-Remaining": "0"}, {}),
    "too fast": (60, 403, {}, TOO_FAST),
    "too fast, in older words": (60, 403, {}, {"message": "You have triggered an abuse detection mechanism."}),
}
LASTING: dict[str, Any] = {
    "refused": (403, {}, {"message": "Resource not accessible by integration"}),
    "refused by a proxy": (403, {}, b"<html>"),
    "not known": (404, {}, {"message": "Not Found"}),
    "a wrong token": (401, {}, {"message": "Bad credentials"}),
    "a proxy's page": (200, {}, b"<html>"),
}


@pytest.mark.parametrize("fault", PASSING)
def test_a_passing_fault_is_waited_for(forge: Forge, fault: str) -> None:
    wait, status, headers, body = PASSING[fault]
    if isinstance(headers.get("Retry-After"), int):  # a date, of the moment of the answer
        headers = {"Retry-After": date(headers["Retry-After"])}
    forge.answers = [(status, headers, body), (200, {}, READ)]
    assert pulls.repository(ADDRESS).id == 7
    assert forge.waits == pytest.approx([wait], abs=5 if "date" in fault and wait > 1 else 0)


@pytest.mark.parametrize("fault", LASTING)
def test_a_lasting_fault_ends_at_once(forge: Forge, fault: str) -> None:
    forge.answers = [LASTING[fault]]
    with pytest.raises(pulls.GitHubException):
        pulls.repository(ADDRESS)
    assert (len(forge.calls), forge.waits) == (1, [])


@pytest.mark.parametrize(
    ("error", "passes"),
    [
        (requests.ConnectionError("refused"), True),
        (requests.ReadTimeout(), True),
        (requests.exceptions.SSLError("EOF occurred in violation of protocol"), True),
        (requests.exceptions.SSLError("[SSL: CERTIFICATE_VERIFY_FAILED] self-signed certificate"), False),
        (requests.exceptions.InvalidURL("https://"), False),
        (requests.TooManyRedirects(), False),
    ],
)
def test_of_the_faults_of_a_connection_those_pass_that_can(error: Exception, passes: bool) -> None:
    assert (pulls.pause(error, 0) is not None) is passes


@pytest.mark.parametrize("fault", LASTING)
def test_a_command_ends_with_a_sentence(
    forge: Forge, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, fault: str
) -> None:
    for name, value in ADDRESS.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(sys, "argv", ["gitops", "fetch-production", str(tmp_path)])
    forge.answers = [LASTING[fault]]
    with pytest.raises(SystemExit, match=r"^GitHub: .+"):
        gitops.main()


# --- artifacts ---


def zipped(files: dict[str, bytes]) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, each in files.items():
            archive.writestr(name, each)
    return content.getvalue()


BOMB = zipped({"metrics.json": bytes(50_000_000)})
LIAR = BOMB.replace((50_000_000).to_bytes(4, "little"), (1000).to_bytes(4, "little"))


@pytest.mark.parametrize(
    ("content", "size", "said"),
    [
        (BOMB, None, "has 50,000,000 bytes unpacked, at most 1,000,000, as none of ours has"),
        (LIAR, None, "is no whole zip"),
        (zipped({str(number): b"" for number in range(1001)}), None, "has 1,001 files, at most 1,000"),
        (b"", 1_000_001, "has 1,000,001 bytes, at most 1,000,000"),
        (b"no zip", None, "is no whole zip"),
        (zipped({"a": b"1"})[:-30], None, "is no whole zip"),
    ],
    ids=["bomb", "liar", "many", "large", "none", "cut"],
)
def test_an_artifact_that_would_fill_the_memory_is_not_unpacked(
    forge: Forge, monkeypatch: pytest.MonkeyPatch, content: bytes, size: int | None, said: str
) -> None:
    monkeypatch.setattr(pulls, "LARGEST", 1_000_000)
    listed = {"expired": False, "size_in_bytes": size or len(content), "archive_download_url": "https://forge/zip"}
    forge.answers = [(200, {}, READ), (200, {}, {"artifacts": [listed]}), (200, {}, content)]
    with pytest.raises(pulls.BadAnswer, match=f"^the artifact facts-train of run 5 {said}"):
        pulls.unpacked(pulls.repository(ADDRESS), 5, "facts-train")
    assert ("GET https://forge/zip" in forge.calls) is (size is None)


def test_an_artifact_is_unpacked(forge: Forge) -> None:
    content = zipped({"metrics.json": b"{}", "production/dvc.lock": b"x"})
    listed = {"expired": False, "size_in_bytes": len(content), "archive_download_url": "https://forge/zip"}
    forge.answers = [(200, {}, READ), (200, {}, {"artifacts": [listed]}), (200, {}, content)]
    found = pulls.unpacked(pulls.repository(ADDRESS), 5, "facts-train")
    assert found == {"metrics.json": b"{}", "production/dvc.lock": b"x"}
