"""An address that nothing installed can open is named, with the package to add, by doctor and where it is used."""

import re
from pathlib import Path

import pytest
from dvc_objects.fs import known_implementations as dvc_known
from fsspec.registry import known_implementations as fsspec_known

from gitops import bytes as handover
from gitops import doctor
from pipeline import log, places
from pipeline.params import BadInput


def test_the_packages_are_those_of_fsspec_and_of_dvc() -> None:
    assert {*places.FSSPEC} <= {*fsspec_known}
    classes = {scheme: dvc_known[scheme]["class"].partition(".")[0] for scheme in places.DVC}
    assert classes == {scheme: package.replace("-", "_") for scheme, package in places.DVC.items()}


@pytest.mark.parametrize("packages", [places.DVC, places.FSSPEC])
def test_a_folder_and_s3_are_locked_and_installed(packages: dict[str, str]) -> None:
    assert places.listing(packages["s3"])
    for address in ("s3://bucket/folder", "/a/folder", "file:///a/folder", "a folder"):
        assert places.problem(address, packages) is doctor.unopened(packages, address) is None


def test_what_is_not_installed_is_named_with_its_locks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(places, "ROOT", tmp_path)
    for name in ("data", "service", "gitops", "other"):
        (tmp_path / f"requirements-{name}.in").write_text("polars\n" if name in ("gitops", "other") else "s3fs # S3\n")
        (tmp_path / f"requirements-{name}.txt").write_text("s3fs==1 \\\n    --hash=sha256:0\n")
    (tmp_path / "requirements-other.in").write_text("s3fs-supplement\n")
    said = doctor.unopened(places.FSSPEC, "gs://bucket/folder")
    assert said == (
        "gs:// needs the package gcsfs: add it to requirements-data.in, requirements-service.in, beside s3fs, "
        "and run `make lock`"
    )
    (tmp_path / "requirements-data.txt").write_text("gcsfs==1 \\\n")
    assert doctor.unopened(places.FSSPEC, "gs://bucket/folder") == said  # the service cannot open it yet
    (tmp_path / "requirements-service.txt").write_text("fsspec==1\ngcsfs==1 \\\n")
    assert doctor.unopened(places.FSSPEC, "gs://bucket/folder") is None


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("azure://container/dvc", "azure:// needs the package dvc-azure: add it to requirements"),
        ("gs://bucket/dvc", "gs:// needs the package dvc-gs: add it to requirements"),
        ("https://example.org/dvc", "https:// is none of s3, gs, azure, oss, ssh: name a folder, or a bucket such as"),
    ],
)
def test_bytes_end_with_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, address: str, words: str) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DVC_REMOTE", address)
    for command in (handover.restore, lambda: handover.bundle(handover.BUNDLE)):
        with pytest.raises(SystemExit, match=re.escape(f"DVC_REMOTE is {address}: {words}")):
            command()
    assert list(tmp_path.iterdir()) == []


def test_the_prediction_log_ends_with_a_sentence() -> None:
    with pytest.raises(BadInput, match="PREDICTION_LOG is gs://b/log: gs:// needs the package gcsfs: add it to"):
        log.Folder.at("gs://b/log")
