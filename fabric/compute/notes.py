"""What this host must remember about a guest that no row and no driver can tell it.

One small file a server. Losing one is survivable: a reboot may be done twice, and a stopped guest whose
image was deleted meanwhile cannot be defined afresh. That a build was given up is noted before anybody hears
of it: the server may be built elsewhere from then on, and a later life must not build it here, too.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from fabric.compute.durable_file import read_json, save_json
from proto.errors import WireError
from proto.ids import ServerId
from proto.records import from_wire

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class BootFiles:
    """The local files a guest is made from."""

    base_path: str
    base_format: str
    kernel_path: str | None = None
    ramdisk_path: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Note:
    boot: BootFiles | None = None
    reboot_generation: int = 0  # the newest reboot that was carried out
    given_up_generation: int = 0  # the newest build that this host has given up, in whatever life
    move_id: str = ""  # by which it came here; "": it was made here, or never moved


class Notes:
    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._known: dict[ServerId, Note] = {}  # what the files say; one process writes them
        self._are_all_known = False

    async def read(self, server_id: ServerId) -> Note:
        """An empty note when there is none, or it is damaged (which is logged). Raises OSError."""
        if server_id in self._known:
            return self._known[server_id]
        try:
            plain = await asyncio.to_thread(read_json, self._path(server_id))
            note = from_wire(Note, plain) if plain is not None else Note()
            self._known[server_id] = note
            return note
        except (ValueError, WireError) as error:
            log.warning("note is damaged", extra={"server": server_id, "error": str(error)})
            return Note()

    async def write_boot(self, server_id: ServerId, boot: BootFiles) -> None:
        note = await self.read(server_id)
        if note.boot != boot:
            await self._write(server_id, replace(note, boot=boot))

    async def write_reboot(self, server_id: ServerId, generation: int) -> None:
        note = await self.read(server_id)
        await self._write(server_id, replace(note, reboot_generation=generation))

    async def write_given_up(self, server_id: ServerId, generation: int) -> None:
        note = await self.read(server_id)
        await self._write(server_id, replace(note, given_up_generation=generation))

    async def write_move(self, server_id: ServerId, move_id: str) -> None:
        """What is here of it from now on came by that move; what was noted of before is forgotten."""
        await self._write(server_id, Note(move_id=move_id))

    async def forget(self, server_id: ServerId) -> None:
        self._known.pop(server_id, None)
        await asyncio.to_thread(self._path(server_id).unlink, missing_ok=True)

    async def forget_others(self, ours: Collection[ServerId]) -> None:
        """Notes of all but these, of earlier lives, too. Raises OSError."""
        if not self._are_all_known:
            await self.all()
            self._are_all_known = True
        for server_id in sorted(self._known.keys() - set(ours)):
            await self.forget(server_id)

    async def all(self) -> dict[ServerId, Note]:
        """Every server with a note."""
        paths = await asyncio.to_thread(lambda: sorted(self._directory.glob("*.json")))
        return {ServerId(path.stem): await self.read(ServerId(path.stem)) for path in paths}

    async def _write(self, server_id: ServerId, note: Note) -> None:
        await save_json(self._path(server_id), asdict(note))
        self._known[server_id] = note

    def _path(self, server_id: ServerId) -> Path:
        assert "/" not in server_id
        assert not server_id.startswith(".")
        return self._directory / f"{server_id}.json"
