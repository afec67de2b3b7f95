"""Long entries, so that logs are cut soon also where clients write little."""

from __future__ import annotations

from collections.abc import Callable
from itertools import count

from fabric.control.ssh_keys import PUBLIC_KEY_CHARS_MAX
from fabric.dev.cloud_client import CloudAnswerError, CloudClient
from tests.chaos.bed import Bed, running
from tests.chaos.clients import KEYPAIRS, PUBLIC_KEY
from tests.chaos.follower import Follower

NAME = "ballast"
CONFLICT, NOT_FOUND = 409, 404


class Ballast:
    """A key pair with the longest comment there may be, at nodes that run when this is made."""

    def __init__(self, bed: Bed) -> None:
        alive = running(bed)
        urls = [url for name, url in zip(bed.names, bed.urls, strict=True) if name in alive]
        self._follower = Follower(urls, bed.password(), begin=0)
        self._numbers = count()
        comment = "x" * (PUBLIC_KEY_CHARS_MAX - len(PUBLIC_KEY))
        self._public_key = PUBLIC_KEY + comment

    def write(self) -> None:
        """Writes one, and takes it away again. Raises CloudAnswerError, NoAnswerError."""
        name = f"{NAME}-{next(self._numbers)}"
        body = {"keypair": {"name": name, "public_key": self._public_key}}
        self._ask(lambda cloud: cloud.post(KEYPAIRS, body))
        self._ask(lambda cloud: cloud.delete(f"{KEYPAIRS}/{name}"))

    def _ask(self, call: Callable[[CloudClient], object]) -> None:
        """What an attempt that nobody answered has done already is done."""
        try:
            self._follower.ask(call)
        except CloudAnswerError as error:
            if error.status not in (CONFLICT, NOT_FOUND):
                raise
