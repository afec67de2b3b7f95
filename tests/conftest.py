"""Fixtures every test may ask for, and how Hypothesis behaves in all of them."""

from __future__ import annotations

from hypothesis import HealthCheck, settings

from tests.fixtures.simulated_hosts import guest_image, simulated_host, simulated_pair

__all__ = ["guest_image", "simulated_host", "simulated_pair"]

# How fast this machine is today says nothing about the program: no test fails for being slow.
settings.register_profile("fabric", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("fabric")
