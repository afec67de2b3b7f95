"""Identifiers. Each is its own type so that a server id can never be passed where a port id is meant."""

from __future__ import annotations

import re
import secrets
import uuid
from typing import NewType

NodeId = NewType("NodeId", str)  # 32 hex digits: blake2b-16 of the node's CURVE public key
FabricId = NewType("FabricId", str)
TokenId = NewType("TokenId", str)  # of a join token, not of an Identity token

DomainId = NewType("DomainId", str)
ProjectId = NewType("ProjectId", str)
UserId = NewType("UserId", str)
RoleId = NewType("RoleId", str)

ServerId = NewType("ServerId", str)
ServerGroupId = NewType("ServerGroupId", str)
FlavorId = NewType("FlavorId", str)
ImageId = NewType("ImageId", str)
NetworkId = NewType("NetworkId", str)
SubnetId = NewType("SubnetId", str)
PortId = NewType("PortId", str)
SecurityGroupId = NewType("SecurityGroupId", str)
SecurityGroupRuleId = NewType("SecurityGroupRuleId", str)

RequestId = NewType("RequestId", str)  # "req-" + uuid4, as OpenStack services spell it
Term = NewType("Term", int)
VoterId = NewType("VoterId", str)  # a node id and a number: a voter whose disk was lost comes back as another
LogIndex = NewType("LogIndex", int)  # first entry is 1; 0 means "before the log"
Fence = NewType("Fence", int)  # the log index of a role's grant
Epoch = NewType("Epoch", int)  # of a node: grows by one at each start of its agent

VOTER_SEPARATOR = "."  # of the node id and the number in a voter id

_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
_VOTER = re.compile(r"[0-9a-f]{32}\.[0-9a-f]{8}")
_REQUEST = re.compile(r"req-[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")


def voter_of(node_id: NodeId, number: str) -> VoterId:
    return VoterId(f"{node_id}{VOTER_SEPARATOR}{number}")


def node_of(voter: VoterId) -> NodeId:
    """The node it lives on."""
    return NodeId(voter.partition(VOTER_SEPARATOR)[0])


def new_uuid() -> str:
    """A random (version 4) UUID in canonical form: how OpenStack names most objects."""
    return str(uuid.uuid4())


def new_hex_id() -> str:
    """32 random hex digits: how Identity names projects, users and roles."""
    return secrets.token_hex(16)


def new_request_id() -> RequestId:
    return RequestId(f"req-{uuid.uuid4()}")


def is_uuid(text: str) -> bool:
    return _UUID.fullmatch(text) is not None


def is_request_id(text: str) -> bool:
    return _REQUEST.fullmatch(text) is not None


def is_voter_id(text: str) -> bool:
    """Of a voter that lives on a node of a mesh."""
    return _VOTER.fullmatch(text) is not None
