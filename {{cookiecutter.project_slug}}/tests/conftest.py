"""Fast tests first; threads that have nothing to do give way to those that have, set before torch is imported."""

import os

import pytest

os.environ.setdefault("OMP_WAIT_POLICY", "passive")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: item.get_closest_marker("slow") is not None)
