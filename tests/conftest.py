"""Fixtures every test may ask for, and how Hypothesis behaves in all of them."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, settings

from tests.fixtures.simulated_hosts import guest_image, simulated_host, simulated_pair

__all__ = ["guest_image", "simulated_host", "simulated_pair"]

# How fast this machine is today says nothing about the program: no test fails for being slow.
settings.register_profile("fabric", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("fabric")

LONG = ("tests/clients", "tests/integration", "tests/property")  # minutes a file


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Long files first: a file is one worker's, and at the end nobody should wait for the other's."""
    items.sort(key=lambda item: not item.nodeid.startswith(LONG))
