"""What all documents about one guest are made from."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from fabric.core.networks.model import Port, Subnet
from fabric.core.servers.model import AssignedServer, NetworkForHost

RANDOM_SEED_BYTES = 512  # as many as Nova gives


@dataclass(frozen=True, slots=True, kw_only=True)
class GuestFacts:
    assigned: AssignedServer
    security_group_names: tuple[str, ...]
    random_seed: bytes

    def network_of(self, port: Port) -> NetworkForHost | None:
        for network in self.assigned.networks:
            if network.network_id == port.network_id:
                return network
        return None

    def subnet_of(self, port: Port, subnet_id: str) -> Subnet | None:
        network = self.network_of(port)
        for subnet in network.subnets if network is not None else ():
            if subnet.subnet_id == subnet_id:
                return subnet
        return None


def random_seed(key: bytes, server_id: str) -> bytes:
    """The same for each reading of one server, unknown to whoever lacks the host's `key`."""
    digest = hashlib.blake2b(server_id.encode(), key=key, digest_size=64, person=b"fabric-seed").digest()
    return hashlib.shake_256(digest).digest(RANDOM_SEED_BYTES)
