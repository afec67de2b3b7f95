"""Where a node is reached: its address, and how an address is written beside a port."""

from __future__ import annotations

import socket

from fabric.errors import ConfigError


def default_address() -> str:
    """The address of the interface the default route leaves by; nothing is sent."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # TEST-NET-1: a route look-up only
            return str(probe.getsockname()[0])
        except OSError as error:
            raise ConfigError(
                "mesh.address: this machine has no default route; set the address peers reach it at"
            ) from error


def endpoint_of(address: str, port: int) -> str:
    return f"tcp://{_host_of(address)}:{port}"


def url_of(address: str, port: int) -> str:
    return f"http://{_host_of(address)}:{port}"


def _host_of(address: str) -> str:
    return f"[{address}]" if ":" in address else address  # an IPv6 address beside a port
