"""Joining a fabric: the new node's side, and the conductor's decision.

The token names doors, the door's key, the root's fingerprint and a one-time secret, so the new node
knows whom it speaks to before it says anything, and the conductor knows it was invited.
"""

from __future__ import annotations

import asyncio
import hmac
import secrets
from collections.abc import Callable
from dataclasses import replace

from fabric.core.membership.model import Member, NodeRecord
from fabric.core.membership.record import body_of, node_id_of, read_state
from fabric.core.nodes.model import Node
from fabric.core.nodes.queries import GetJoinToken, GetNode
from fabric.errors import DeadlineExceededError, FabricError, Outcome
from fabric.mesh.contract import LinkFact
from fabric.mesh.curve import CurveKeyPair
from fabric.mesh.probe import probe
from fabric.runtime.authority import Authority, NodeTrust, read_certificate, root_fingerprint
from fabric.runtime.clock import Clock
from fabric.runtime.door_knock import NoAnswer, knock
from fabric.runtime.hard_state import HardState
from fabric.runtime.node_identity import NodeIdentity
from fabric.runtime.ownership import lives_elsewhere
from proto.commands.nodes import JoinTokenCreate, NodeAdmit
from proto.errors import WireError
from proto.ids import NodeId, RequestId, TokenId, new_request_id, new_uuid
from proto.join import (
    REPLY_STATES_BYTES_MAX,
    SECRET_BYTES,
    JoinRefusal,
    JoinReply,
    JoinRequest,
    JoinTokenText,
    StandingReply,
    decode_reply,
    encode_request,
    secret_hash,
    token_text,
)
from proto.membership import REMOVALS_MAX, NodeState, Removal

LOCAL_EXPIRY_SLACK_MS = 24 * 3_600 * 1_000  # a new machine's clock is often wrong: the door's judges


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
        token_id=token_id,
        secret_hash=secret_hash(secret),
        expires_ms=expires_ms,
        uses=uses,
        door_public=door_public,
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
        member: Callable[[NodeId], Member | None],
        admitted: Callable[[NodeState], None],
    ) -> None:
        """`known` and `removals` are what the newcomer is told; `member` as the mesh has it, None: unknown;
        `admitted` is told the newcomer's signed state."""
        self._state = state
        self._authority = authority
        self._trust = trust
        self._clock = clock
        self._known = known
        self._removals = removals
        self._member = member
        self._admitted = admitted

    async def admit(self, request: JoinRequest) -> JoinReply:
        """Raises JoinError, CommandRejectedError, WireError: all of them refuse."""
        now_ms = self._clock.wall_ms()
        if not hmac.compare_digest(request.root_fingerprint, root_fingerprint(self._authority.root_public)):
            raise JoinError(
                "the token names the root of another fabric than this door's; nothing was done. Make a new "
                "token with `fabric token create`"
            )
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
        record = read_state(state).record
        reason = self._trust.doubt(state, record)
        if reason is not None:
            raise JoinError(f"the node's own record does not hold: {reason}")
        _refuse_copy(self._member(request.node_id), record.endpoint)
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


def _refuse_copy(member: Member | None, endpoint: str) -> None:
    """Raises JoinError for a node that lives on another machine, or on this one with other ports."""
    if member is None or not lives_elsewhere(member, endpoint):
        return
    raise JoinError(
        f"{member.record.name} lives at {member.record.endpoint} with the very keys of this machine, whose "
        "state directory is a copy of that node's; nothing was done. To join as a node of its own, remove "
        "the state directory here, so that it makes new keys. If this machine takes that node's place, stop "
        "its agent there first"
    )


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

    Raises JoinError (refused, or no door was asked: nothing was done), DeadlineExceededError (unknown: join
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
        root_fingerprint=token.root_fingerprint,
        node_id=identity.node_id,
        name=record.name,
        curve_public=identity.curve_public,
        sign_public=identity.sign_public,
        body=body,
        signature=identity.sign(body),
    )
    keys = CurveKeyPair(identity.curve_public, identity.curve_secret)
    answer = await _ask_doors(token, keys, encode_request(request))
    if isinstance(answer, bytes):
        return _believed(decode_reply(answer), token, identity, clock)
    raise _no_answer(token, answer)


def _believed(
    reply: JoinReply | StandingReply | JoinRefusal, token: JoinTokenText, identity: NodeIdentity, clock: Clock
) -> JoinReply:
    if isinstance(reply, JoinRefusal):
        if reply.outcome is Outcome.UNKNOWN:
            raise DeadlineExceededError(reply.message)
        raise JoinError(reply.message)
    if isinstance(reply, StandingReply):
        raise WireError("unknown_kind", "the door answered another question")
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


async def _ask_doors(token: JoinTokenText, keys: CurveKeyPair, frame: bytes) -> bytes | dict[str, NoAnswer]:
    """The first answer, or how far each knock came. All doors are looked at first, so that a dead address
    costs nothing while another lives; one that is silent so far may only be slow, and comes last."""
    facts = await asyncio.gather(*(probe(address) for address in token.addresses))
    order = {LinkFact.UP: 0, LinkFact.LOST: 1}
    doors = [
        (order[fact], address) for fact, address in zip(facts, token.addresses, strict=True) if fact in order
    ]
    failed: dict[str, NoAnswer] = {}
    for _, address in sorted(doors, key=lambda door: door[0]):
        answer = await knock(address, keys, token.door_public, frame)
        if isinstance(answer, bytes):
            return answer
        failed[address] = answer
    return failed


def _no_answer(token: JoinTokenText, failed: dict[str, NoAnswer]) -> FabricError:
    """Only a door that was asked and did not answer may have done something."""
    if NoAnswer.UNANSWERED in failed.values():
        asked = ", ".join(address for address, why in failed.items() if why is NoAnswer.UNANSWERED)
        return DeadlineExceededError(
            f"the join door at {asked} was asked and did not answer; this node may be admitted by now. "
            "Joining again with the same token is safe."
        )
    for address, why in failed.items():
        if why is NoAnswer.OTHER_KEY:
            return JoinError(
                f"the door at {address} has another key than this token names (its keys were rotated?): "
                "make a new token with `fabric token create`; nothing was done"
            )
    return JoinError(
        f"no join door answered at {', '.join(token.addresses)}; is the address reachable, and is the agent "
        "there running? Nothing was done: the same token may be tried again"
    )
