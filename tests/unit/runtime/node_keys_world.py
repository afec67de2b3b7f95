"""A conductor's rows and authority, and one member's way to them: what tests of certificates are made of."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import replace
from pathlib import Path

from fabric.core.membership.model import Member, MemberState, NodeRecord
from fabric.core.membership.record import read_state, sign_record
from fabric.core.nodes.model import Node
from fabric.core.nodes.queries import GetNode
from fabric.mesh.rpc_contract import Handler, StreamHandler
from fabric.mesh.rpc_errors import remote_error_of
from fabric.runtime.authority import Authority, NodeTrust, create_authority
from fabric.runtime.certificate_request import Issuer
from fabric.runtime.certificate_service import CertificateService
from fabric.runtime.node_identity import Membership, NodeIdentity, load_or_create, next_epoch, save_membership
from fabric.store.lone_voter import lone_voter
from proto.codec import Plain, pack, unpack
from proto.commands.identity import FabricInit
from proto.commands.nodes import JoinTokenCreate, NodeAdmit
from proto.ids import FabricId, NodeId, RequestId, TokenId, new_uuid
from proto.membership import NodeState
from tests.fixtures.store_world import ManualClock, fabric_init

CONDUCTOR = NodeId("c" * 32)
FABRIC = FabricId("fabric-1")
NAME = "h2"


class OneWayRpc:
    """Calls of one member to the conductor, through the codec, with the mesh's own errors."""

    def __init__(self, peer: NodeId) -> None:
        self.peer = peer
        self.handlers: dict[str, Handler] = {}
        self.before: Callable[[str], None] = lambda method: None
        self.after: Callable[[str], None] = lambda method: None

    def serve(self, method: str, handler: Handler) -> None:
        self.handlers[method] = handler

    def unserve(self, method: str) -> None:
        raise NotImplementedError

    def serve_stream(self, method: str, handler: StreamHandler) -> None:
        raise NotImplementedError

    def stream(
        self, to: NodeId, method: str, body: Mapping[str, Plain], *, timeout_ms: int
    ) -> AsyncIterator[bytes]:
        raise NotImplementedError

    async def call(self, to: NodeId, method: str, body: Mapping[str, Plain], *, timeout_ms: int) -> Plain:
        self.before(method)
        plain = unpack(pack(dict(body)))
        assert isinstance(plain, dict)
        try:
            answer = await self.handlers[method](self.peer, plain)
        except Exception as error:
            raise remote_error_of(error, method) from error
        self.after(method)
        return unpack(pack(answer))


class OneNodeFleet:
    """Knows the member itself and a peer."""

    def __init__(self, *records: NodeRecord) -> None:
        self.records = {record.node_id: record for record in records}
        self.me = records[0].node_id

    def member(self, node_id: NodeId) -> Member | None:
        record = self.records.get(node_id)
        if record is None:
            return None
        return Member(record=record, state=MemberState.ALIVE, heard_ms=0, changed_ms=0)

    def members(self) -> tuple[Member, ...]:
        found = (self.member(node_id) for node_id in self.records)
        return tuple(member for member in found if member is not None)

    def is_alive(self, node_id: NodeId) -> bool:
        return node_id in self.records

    def subscribe(self, listener: Callable[[Member], None]) -> Callable[[], None]:
        return lambda: None


class KeysWorld:
    """Open before use. The member's files are in `directory`."""

    def __init__(self, tmp_path: Path) -> None:
        self.directory = tmp_path / "member"
        self.directory.mkdir()
        root = tmp_path / "root"
        root.mkdir()
        self.clock = ManualClock()
        self.authority: Authority = create_authority(root, FABRIC)
        self.state = lone_voter(tmp_path / "state", clock=self.clock)
        self.identity = load_or_create(self.directory)
        self.rpc = OneWayRpc(self.identity.node_id)
        self.rotated: list[NodeState] = []

    @property
    def node_id(self) -> NodeId:
        return self.identity.node_id

    async def open(self) -> None:
        await self.state.open()
        await self.state.propose(self._init(), request_id=RequestId("init"))
        token = TokenId("t")
        expires_ms = self.clock.now_ms + 1_000_000
        await self.state.propose(
            JoinTokenCreate(token_id=token, secret_hash=b"h", expires_ms=expires_ms, uses=9),
            request_id=RequestId("token"),
        )
        certificate = self.authority.issue(
            curve_public=self.identity.curve_public,
            sign_public=self.identity.sign_public,
            name=NAME,
            now_ms=self.clock.wall_ms(),
        )
        self.member = Membership(FABRIC, self.authority.root_public, certificate)
        save_membership(self.directory, self.member)
        self.record = self._record(certificate)
        said = sign_record(self.record, self.identity.sign).state
        await self.state.propose(
            NodeAdmit(
                node_id=self.node_id,
                name=NAME,
                curve_public=self.identity.curve_public,
                certificate=certificate,
                token_id=token,
                body=said.body,
                signature=said.signature,
            ),
            request_id=RequestId("admit"),
        )
        CertificateService(
            self.state,
            self.authority,
            self.trust_of(self.identity),
            self.rpc,
            self.clock,
            rotated=self.rotated.append,
        )
        self.issuer = Issuer(rpc=self.rpc, conductor=lambda: CONDUCTOR, clock=self.clock)

    async def close(self) -> None:
        await self.state.close()

    async def row(self) -> Node:
        found = await self.state.read(GetNode(node_id=self.node_id))
        assert found is not None
        return found

    def trust_of(self, identity: NodeIdentity) -> NodeTrust:
        return NodeTrust(
            identity,
            root_public=self.authority.root_public,
            fabric_id=FABRIC,
            now_ms=self.clock.wall_ms,
        )

    def last_word(self) -> NodeRecord:
        """Of the newest rotation."""
        return read_state(self.rotated[-1]).record

    def _record(self, certificate: bytes) -> NodeRecord:
        return NodeRecord(
            node_id=self.node_id,
            name=NAME,
            endpoint="tcp://127.0.0.1:7400",
            curve_public=self.identity.curve_public,
            certificate=certificate,
            epoch=next_epoch(self.directory),
            version=1,
            zone="nova",
            software="t",
            boot_id=b"b" * 8,
        )

    def _init(self) -> FabricInit:
        return replace(fabric_init(), fabric_id=FABRIC, root_public=self.authority.root_public)


def a_request() -> RequestId:
    return RequestId(f"req-{new_uuid()}")
