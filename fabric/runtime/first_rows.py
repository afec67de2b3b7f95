"""A fabric's first entries, and this node's own row: proposed under the same ids each time, so that a crash
repeats nothing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from fabric.core.identity.queries import GetFabric
from fabric.core.nodes.queries import GetNode
from fabric.errors import ConfigError
from fabric.runtime.authority import Authority, read_own
from fabric.runtime.clock import Clock
from fabric.runtime.founding import first_entry, forget_first_entry
from fabric.runtime.hard_state import HardState
from fabric.runtime.node_identity import IdentityError, Membership, NodeIdentity
from fabric.runtime.rotation import pending_keys
from proto.commands.nodes import NodeAdmit, NodeRenew
from proto.ids import RequestId, new_request_id


class FirstRows:
    def __init__(
        self,
        state: HardState,
        directory: Path,
        *,
        name: str,
        identity: NodeIdentity,
        authority: Authority,
        clock: Clock,
        adopt: Callable[[Membership], None],
    ) -> None:
        """`adopt` makes a newer certificate of this node durable and tells the mesh."""
        self._state = state
        self._directory = directory
        self._name = name
        self._identity = identity
        self._authority = authority
        self._clock = clock
        self._adopt = adopt

    async def found(self, member: Membership) -> None:
        """The fabric itself, where the rows hold none. Raises ConfigError: the rows are another fabric's;
        IdentityError: they are gone."""
        first = first_entry(self._directory)
        rows = await self._state.read(GetFabric())
        if rows is not None and rows.fabric_id != member.fabric_id:
            raise ConfigError(
                f"state.url: that database holds fabric {rows.fabric_id}, but this node founded "
                f"{member.fabric_id}; each fabric needs a database of its own"
            )
        if rows is None:
            if first is None:
                raise IdentityError(
                    f"the rows of fabric {member.fabric_id} are gone, and its first entry too; restore a "
                    f"backup of {self._directory}"
                )
            await self._state.propose(first, request_id=RequestId(f"init/{member.fabric_id}"))

    async def need_fabric(self, member: Membership) -> None:
        """In a database that another node filled. Raises ConfigError: the rows are another fabric's, or there
        are none."""
        rows = await self._state.read(GetFabric())
        found = None if rows is None else rows.fabric_id
        if found != member.fabric_id:
            raise ConfigError(
                f"state.url: that database holds {'no fabric' if found is None else f'fabric {found}'}, but "
                f"this node is a member of {member.fabric_id}; name the database its founder uses"
            )

    async def enter_own(self, member: Membership) -> None:
        """The row of this node, with the certificate it has. Raises FabricError."""
        row = await self._state.read(GetNode(node_id=self._identity.node_id))
        if row is not None and pending_keys(self._directory) is not None:
            return  # the row may know the keys that `Rotation.finish` is about to take
        if row is not None and row.generation > read_own(member.certificate).generation:
            member = self._outdo(member, row.generation)
        certificate, me = member.certificate, self._identity
        generation = read_own(certificate).generation
        if row is None:
            await self._state.propose(
                NodeAdmit(
                    node_id=me.node_id,
                    name=self._name,
                    curve_public=me.curve_public,
                    certificate=certificate,
                    generation=generation,
                ),
                request_id=new_request_id(),
            )
        elif row.certificate != certificate:
            await self._state.propose(
                NodeRenew(
                    node_id=me.node_id,
                    curve_public=me.curve_public,
                    certificate=certificate,
                    generation=generation,
                ),
                request_id=new_request_id(),
            )
        forget_first_entry(self._directory)

    def _outdo(self, member: Membership, generation: int) -> Membership:
        """The log knows a newer certificate of this node than its files do: they come from a backup.
        Everybody holds ours for spent, so a newer one is issued before anything else is said."""
        known = read_own(member.certificate)
        certificate = self._authority.issue(
            curve_public=self._identity.curve_public,
            sign_public=self._identity.sign_public,
            name=known.name,
            now_ms=self._clock.wall_ms(),
            roles=known.roles,
            node_id=self._identity.node_id,
            generation=generation + 1,
        )
        newer = replace(member, certificate=certificate)
        self._adopt(newer)
        return newer
