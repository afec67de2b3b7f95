"""Fixtures every test may ask for."""

from __future__ import annotations

from tests.fixtures.simulated_hosts import guest_image, simulated_host, simulated_pair

__all__ = ["guest_image", "simulated_host", "simulated_pair"]
