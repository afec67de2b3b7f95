"""The OpenStack tree: `openstack/VERSION/FILE`. Pure."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping

from fabric.compute.metadata.facts import GuestFacts
from fabric.compute.metadata.network_data import network_data

LATEST = "latest"
GRIZZLY = "2013-04-04"
HAVANA = "2013-10-17"
LIBERTY = "2015-10-15"
NEWTON_ONE = "2016-06-30"
NEWTON_TWO = "2016-10-06"
VICTORIA = "2020-10-14"
VERSIONS: tuple[str, ...] = (  # oldest first; `latest` is the last of them under another name
    "2012-08-10",
    GRIZZLY,
    HAVANA,
    LIBERTY,
    NEWTON_ONE,
    NEWTON_TWO,
    "2017-02-22",
    "2018-08-27",
    VICTORIA,
    "2025-04-04",
)

META_DATA = "meta_data.json"
USER_DATA = "user_data"
VENDOR_DATA = "vendor_data.json"
VENDOR_DATA2 = "vendor_data2.json"
NETWORK_DATA = "network_data.json"
_SINCE: Mapping[str, str] = {  # the version that brought each file, in listing order
    META_DATA: VERSIONS[0],
    USER_DATA: VERSIONS[0],
    VENDOR_DATA: HAVANA,
    NETWORK_DATA: LIBERTY,
    VENDOR_DATA2: NEWTON_TWO,
}


def file_names(facts: GuestFacts, version: str) -> tuple[str, ...]:
    """The files of a version; none for a version nobody knows."""
    dated = _dated(version)
    if dated is None:
        return ()
    has_user_data = facts.assigned.server.user_data is not None
    return tuple(
        name for name, since in _SINCE.items() if since <= dated and (name != USER_DATA or has_user_data)
    )


def file_content(
    facts: GuestFacts, version: str, name: str, *, with_admin_pass: bool = False
) -> bytes | None:
    """None: there is no such file. Admin passwords go onto config drives only, which no neighbour on the
    network can ask for."""
    dated = _dated(version)
    if dated is None or name not in file_names(facts, version):
        return None
    if name == USER_DATA:
        return facts.assigned.server.user_data
    if name == META_DATA:
        return _json(meta_data(facts, dated, with_admin_pass=with_admin_pass))
    if name == NETWORK_DATA:
        return _json(network_data(facts))
    return _json({})


def meta_data(facts: GuestFacts, dated: str, *, with_admin_pass: bool = False) -> dict[str, object]:
    server = facts.assigned.server
    document: dict[str, object] = {
        "uuid": server.server_id,
        "name": server.name,
        "hostname": server.hostname,
        "launch_index": server.launch_index,
        "availability_zone": server.zone or "",
    }
    if server.metadata:
        document["meta"] = dict(server.metadata)
    if server.key_name is not None and server.public_key is not None:
        document["public_keys"] = {server.key_name: server.public_key}
        document["keys"] = [{"name": server.key_name, "type": server.key_type, "data": server.public_key}]
    if dated >= GRIZZLY:
        document["random_seed"] = base64.b64encode(facts.random_seed).decode()
    if dated >= LIBERTY:
        document["project_id"] = server.project_id
    if dated >= NEWTON_ONE:
        document["devices"] = []
    if dated >= VICTORIA:
        document["dedicated_cpus"] = []
    if with_admin_pass and server.admin_pass is not None:
        document["admin_pass"] = server.admin_pass
    return document


def _dated(version: str) -> str | None:
    if version == LATEST:
        return VERSIONS[-1]
    return version if version in VERSIONS else None


def _json(value: object) -> bytes:
    return json.dumps(value, sort_keys=True).encode()
