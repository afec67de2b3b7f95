"""Fixtures every test may ask for, and how Hypothesis behaves in all of them."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, settings

from tests.fixtures.simulated_hosts import guest_image, simulated_host, simulated_pair

__all__ = ["guest_image", "simulated_host", "simulated_pair"]

# How fast this machine is today says nothing about the program: no test fails for being slow.
settings.register_profile("fabric", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("fabric")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """For `--dist loadgroup`: a file stays on one worker (its fixtures are dear), and everything with real
    guests stays on one, for two cores carry no two sets of them."""
    for item in items:
        group = "guests" if item.get_closest_marker("libvirt") else item.nodeid.partition("::")[0]
        item.add_marker(pytest.mark.xdist_group(group))
