"""What authentication keeps between requests, in this process only: the fabric's constants, hashing slots."""

from __future__ import annotations

from fabric.control.errors import UnavailableError
from fabric.control.passwords import Hasher
from fabric.core.identity.model import FabricIdentity
from fabric.core.identity.queries import GetFabric
from fabric.runtime.hard_state import HardState


class AuthState:
    """One for each `Cloud`."""

    def __init__(self) -> None:
        self.hasher = Hasher()
        self._fabric: FabricIdentity | None = None

    async def fabric(self, state: HardState) -> FabricIdentity:
        """The constants FabricInit made: they never change, so they are read once.

        Raises: UnavailableError before the fabric is initialised.
        """
        if self._fabric is None:
            self._fabric = await state.read(GetFabric())
        if self._fabric is None:
            raise UnavailableError("The fabric is not initialised yet: run `fabric init` or join it.")
        return self._fabric
