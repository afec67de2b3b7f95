"""Joining a fabric: the new node's side, and the conductor's decision.

The token names doors, the door's key, the root's fingerprint and a one-time secret, so the new node
knows whom it speaks to before it says anything, and the conductor knows it was invited.
"""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import secrets
from collections.abc import Callable
from dataclasses import replace

import zmq
from zmq.utils.monitor import parse_monitor_message

from fabric.core.membership.model import NodeRecord
from fabric.core.membership.record import body_of, node_id_of, read_state
from fabric.core.nodes.model import Node
from fabric.core.nodes.queries import GetJoinToken, GetNode
from fabric.errors import DeadlineExceededError, FabricError, Outcome
from fabric.mesh.contract import LinkFact
from fabric.mesh.curve import CurveKeyPair
from fabric.mesh.fd_reader import FdReader
from fabric.mesh.probe import probe
from fabric.mesh.zmq_options import new_context, set_for_dialler
from fabric.runtime.authority import Authority, NodeTrust, read_certificate, root_fingerprint
from fabric.runtime.clock import Clock
from fabric.runtime.hard_state import HardState
from fabric.runtime.node_identity import NodeIdentity
from proto.commands.nodes import JoinTokenCreate, NodeAdmit
from proto.errors import WireError
from proto.ids import RequestId, TokenId, new_request_id, new_uuid
from proto.join import (
    REPLY_BYTES_MAX,
    REPLY_STATES_BYTES_MAX,
    SECRET_BYTES,
    JoinRefusal,
    JoinReply,
    JoinRequest,
    JoinTokenText,
    decode_reply,
    encode_request,
    secret_hash,
    token_text,
)
from proto.membership import REMOVALS_MAX, NodeState, Removal

LINK_TIMEOUT_S = 5.0  # for one door to prove its key
ANSWER_TIMEOUT_S = 25.0  # of one door that did; above the door's own limit
ASK_AGAIN_S = 5.0
LOCAL_EXPIRY_SLACK_MS = 24 * 3_600 * 1_000  # a new machine's clock is often wrong: the door's judges
MONITOR_ENDPOINT = "inproc://door-link"  # in a context of its own
_LINK_EVENTS = (
    zmq.EVENT_HANDSHAKE_SUCCEEDED
    | zmq.EVENT_HANDSHAKE_FAILED_AUTH
    | zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL
    | zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL
    | zmq.EVENT_DISCONNECTED
    | zmq.EVENT_CLOSED
)


class JoinError(FabricError):
    """Not admitted. The message says why and what to do."""

    code = "fabric.join.refused"
    outcome = Outcome.NOT_DONE


async def create_token(
    state: HardState,
    *,
    addresses: tuple[str, ...],
    door_public: bytes,
    root_public: bytes,
    now_ms: int,
    ttl_s: int,
    uses: int,
) -> str:
    """Makes an invitation and returns its text. Only a hash of the secret is kept."""
    secret, token_id = secrets.token_bytes(SECRET_BYTES), TokenId(new_uuid())
    expires_ms = now_ms + ttl_s * 1000
    command = JoinTokenCreate(
        token_id=token_id, secret_hash=secret_hash(secret), expires_ms=expires_ms, uses=uses
    )
    await state.propose(command, request_id=new_request_id())
    return token_text(
        JoinTokenText(
            addresses=addresses,
            door_public=door_public,
            root_fingerprint=root_fingerprint(root_public),
            token_id=token_id,
            secret=secret,
            expires_ms=expires_ms,
        )
    )


class Admission:
    """The conductor's decision about one knock."""

    def __init__(
        self,
        state: HardState,
        authority: Authority,
        trust: NodeTrust,
        clock: Clock,
        *,
        known: Callable[[], tuple[NodeState, ...]],
        removals: Callable[[], tuple[Removal, ...]],
        admitted: Callable[[NodeState], None],
    ) -> None:
        """`known` and `removals` are what the newcomer is told; `admitted` is told its signed state."""
        self._state = state
        self._authority = authority
        self._trust = trust
        self._clock = clock
        self._known = known
        self._removals = removals
        self._admitted = admitted

    async def admit(self, request: JoinRequest) -> JoinReply:
        """Raises JoinError, CommandRejectedError, WireError: all of them refuse."""
        now_ms = self._clock.wall_ms()
        token = await self._state.read(GetJoinToken(token_id=request.token_id))
        offered = secret_hash(request.secret)
        if token is None or not hmac.compare_digest(token.secret_hash, offered):
            raise JoinError("the join token is not valid; make a new one with `fabric token create`")
        if now_ms >= token.expires_ms:
            raise JoinError("the join token has expired; make a new one with `fabric token create`")
        row = await self._state.read(GetNode(node_id=request.node_id))
        _check_id(request, row)
        generation = 1 if row is None else row.generation + 1
        certificate = self._authority.issue(
            curve_public=request.curve_public,
            sign_public=request.sign_public,
            name=request.name,
            now_ms=now_ms,
            node_id=request.node_id,
            generation=generation,
        )
        state = NodeState(certificate=certificate, body=request.body, signature=request.signature)
        reason = self._trust.doubt(state, read_state(state).record)
        if reason is not None:
            raise JoinError(f"the node's own record does not hold: {reason}")
        await self._state.propose(
            NodeAdmit(
                node_id=request.node_id,
                name=request.name,
                curve_public=request.curve_public,
                certificate=certificate,
                token_id=request.token_id,
                generation=generation,
                body=request.body,
                signature=request.signature,
            ),
            request_id=RequestId(f"join/{request.token_id}/{request.node_id}/{new_uuid()}"),
        )
        peers = _fitting(self._known(), but=request.node_id)
        self._admitted(state)
        return JoinReply(
            fabric_id=self._authority.fabric_id,
            root_public=self._authority.root_public,
            certificate=certificate,
            states=peers,
            removals=self._removals()[:REMOVALS_MAX],
        )


def _check_id(request: JoinRequest, row: Node | None) -> None:
    """A new node is named after its key. One that rotated its keys since keeps its name, under the key the
    log has. Raises WireError."""
    if node_id_of(request.curve_public) == request.node_id:
        return
    if row is None or row.curve_public != request.curve_public:
        raise WireError("bad_field", "node_id is not the hash of curve_public")


def _fitting(states: tuple[NodeState, ...], *, but: str) -> tuple[NodeState, ...]:
    """As many as one answer holds; the rest comes by gossip."""
    kept, size = [], 0
    for state in states:
        size += state.size_bytes + 64
        if size > REPLY_STATES_BYTES_MAX:
            break
        if read_state(state).record.node_id != but:
            kept.append(state)
    return tuple(kept)


async def join_with_token(
    token: JoinTokenText, identity: NodeIdentity, record: NodeRecord, clock: Clock
) -> JoinReply:
    """Knocks at the token's doors, those that listen first. `record` is this node's first word about itself.

    Raises JoinError (refused, or nobody answered: not admitted), DeadlineExceededError (unknown: join
    again with the same state directory, which is safe).
    """
    if clock.wall_ms() >= token.expires_ms + LOCAL_EXPIRY_SLACK_MS:
        raise JoinError(
            "the join token has expired by this machine's clock; set the clock, or make a new token with "
            "`fabric token create`"
        )
    body = body_of(replace(record, certificate=b""))
    request = JoinRequest(
        token_id=token.token_id,
        secret=token.secret,
        node_id=identity.node_id,
        name=record.name,
        curve_public=identity.curve_public,
        sign_public=identity.sign_public,
        body=body,
        signature=identity.sign(body),
    )
    keys = CurveKeyPair(identity.curve_public, identity.curve_secret)
    frame = await _ask_doors(token, keys, encode_request(request))
    if frame is not None:
        return _believed(decode_reply(frame), token, identity, clock)
    raise DeadlineExceededError(
        f"no join door answered at {', '.join(token.addresses)}; is the address reachable, and is the agent "
        "there running? Joining again with the same token is safe."
    )


def _believed(
    reply: JoinReply | JoinRefusal, token: JoinTokenText, identity: NodeIdentity, clock: Clock
) -> JoinReply:
    if isinstance(reply, JoinRefusal):
        if reply.outcome is Outcome.UNKNOWN:
            raise DeadlineExceededError(reply.message)
        raise JoinError(reply.message)
    if not hmac.compare_digest(root_fingerprint(reply.root_public), token.root_fingerprint):
        raise JoinError("the door belongs to another fabric than the token: its root key differs")
    certificate = read_certificate(
        reply.certificate,
        root_public=reply.root_public,
        fabric_id=reply.fabric_id,
        now_ms=clock.wall_ms(),
    )
    if certificate.node_id != identity.node_id or certificate.curve_public != identity.curve_public:
        raise JoinError("the door answered with another node's certificate")
    return reply


async def _ask_doors(token: JoinTokenText, keys: CurveKeyPair, frame: bytes) -> bytes | None:
    """The first answer; None when there was none. All doors are looked at first, so that a dead address
    costs nothing while another lives; one that is silent so far may only be slow, and comes last."""
    facts = await asyncio.gather(*(probe(address) for address in token.addresses))
    order = {LinkFact.UP: 0, LinkFact.LOST: 1}
    doors = [
        (order[fact], address) for fact, address in zip(facts, token.addresses, strict=True) if fact in order
    ]
    for _, address in sorted(doors, key=lambda door: door[0]):
        answer = await _knock(address, keys, token.door_public, frame)
        if answer is not None:
            return answer
    return None


async def _knock(address: str, keys: CurveKeyPair, door_public: bytes, frame: bytes) -> bytes | None:
    """One question, one answer; None when the door does not prove its key or nobody answers in time. The
    question is asked again meanwhile: a door may drop one under load, and answers the same node alike."""
    context = new_context()
    socket, monitor = context.socket(zmq.DEALER), context.socket(zmq.PAIR)
    loop = asyncio.get_running_loop()
    answer: asyncio.Future[bytes] = loop.create_future()
    linked: asyncio.Future[bool] = loop.create_future()  # False: this was not our door, or it hung up

    def read() -> None:
        data = socket.recv(zmq.NOBLOCK)
        if not answer.done():
            answer.set_result(data)

    def read_event() -> None:
        event = parse_monitor_message(monitor.recv_multipart(zmq.NOBLOCK))["event"]
        if not linked.done():
            linked.set_result(event == zmq.EVENT_HANDSHAKE_SUCCEEDED)
        elif not answer.done():
            answer.set_exception(ConnectionResetError("the door hung up"))

    set_for_dialler(socket, keys, door_public)
    socket.setsockopt(zmq.MAXMSGSIZE, REPLY_BYTES_MAX)
    monitor.setsockopt(zmq.LINGER, 0)
    socket.monitor(MONITOR_ENDPOINT, _LINK_EVENTS)
    monitor.connect(MONITOR_ENDPOINT)
    readers = [FdReader(socket, read), FdReader(monitor, read_event)]
    try:
        socket.connect(address)
        async with asyncio.timeout(LINK_TIMEOUT_S):
            if not await linked:
                return None
        async with asyncio.timeout(ANSWER_TIMEOUT_S):
            while not answer.done():
                with contextlib.suppress(zmq.Again):
                    socket.send(frame, zmq.NOBLOCK)
                readers[0].poke()
                await asyncio.wait((answer,), timeout=ASK_AGAIN_S)
            return answer.result()
    except (TimeoutError, zmq.ZMQError, ConnectionResetError):
        return None
    finally:
        for reader in readers:
            reader.close()
        socket.disable_monitor()
        socket.close()
        monitor.close()
        await asyncio.to_thread(context.term)
