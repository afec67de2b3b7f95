"""Bugs of cells and devices: who is given which, and what of it reaches a guest."""

from __future__ import annotations

from tests.mutants.bug import Bug, Harm

S, L = Harm.SAFETY, Harm.LIVENESS

GRANTS = "tests/contract/store/test_grants.py"
GIVE, WISH = "tests/unit/core/topology/test_give.py", "tests/unit/core/topology/test_wish.py"
GIVEN = "tests/unit/compute/test_given_topology.py"


def bug(name: str, harm: Harm, file: str, old: str, new: str, *tests: str) -> Bug:
    return Bug(name=name, harm=harm, file=file, old=old, new=new, tests=tests)


TOPOLOGY_BUGS = (
    bug(
        "a placement gives nothing of cells and devices",
        S,
        "fabric/store/apply/placing.py",
        "    give_topology(context, host, server)\n",
        "",
        GRANTS,
    ),
    bug(
        "a move is placed without a look at the other host",
        S,
        "fabric/store/apply/moves.py",
        "    take_in(context, host, row)\n",
        "",
        GRANTS,
    ),
    bug(
        "what a move holds of cells and devices is given to others",
        S,
        "fabric/store/tables/level3/grants.py",
        "moves.c.held_host_id == _G.host_id",
        "moves.c.held_host_id == _G.server_id",
        GRANTS,
    ),
    bug(
        "a removed server keeps its cells and devices",
        L,
        "fabric/store/tables/level3/grants.py",
        "servers.c.server_id == _G.server_id, servers.c.host_id == _G.host_id",
        "servers.c.server_id != _G.server_id",
        GRANTS,
    ),
    bug(
        "a device is given though a part of it is",
        S,
        "fabric/core/topology/room.py",
        " and device.address not in parents",
        "",
        GIVE,
    ),
    bug(
        "dedicated processors of guests from before are counted nowhere",
        S,
        "fabric/core/topology/room.py",
        "cell.dedicated - dedicated - anywhere",
        "cell.dedicated - dedicated",
        GIVE,
    ),
    bug(
        "huge pages are given twice",
        S,
        "fabric/core/topology/room.py",
        "            pages[each.page_kb] -= each.memory_mb * KB_PER_MB // each.page_kb\n",
        "            pass\n",
        GIVE,
    ),
    bug(
        "two nodes of a guest are put at one cell",
        S,
        "fabric/core/topology/matching.py",
        "        if holder[thing] is None and not is_seen[thing]:\n",
        "        if not is_seen[thing]:\n",
        GIVE,
    ),
    bug(
        "a device may be as far away as it likes",
        S,
        "fabric/core/topology/give.py",
        "    return device.cell_id in at\n",
        "    return True\n",
        GIVE,
    ),
    bug(
        "pins are taken of any cell",
        S,
        "fabric/compute/pin_keeper.py",
        "left = free & need.cpus",
        "left = free",
        GIVEN,
    ),
    bug(
        "a guest that was given nothing of what it wants is built without",
        S,
        "fabric/compute/guest_nodes.py",
        "    if server.launched_ms is None:\n",
        "    if False:\n",
        GIVEN,
    ),
    bug(
        "devices of a physical network are given by alias",
        S,
        "fabric/core/topology/pci_config.py",
        "any(spec.physical_network for spec in taking)",
        "False",
        "tests/unit/core/topology/test_pci_config.py",
    ),
    bug(
        "the shared vCPUs of a mixed guest have a processor each, too",
        S,
        "fabric/core/placement/resources.py",
        "        own[VCPU] = claim.vcpus - pinned\n",
        "        own[VCPU] = claim.vcpus\n",
        "tests/api/compute/test_dedicated_api.py",
    ),
    bug(
        "a guest's memory is of any cell",
        S,
        "drivers/libvirt/domain_xml.py",
        "    memory_binding(root, spec)\n",
        "",
        "tests/unit/drivers/test_domain_xml.py",
    ),
)
