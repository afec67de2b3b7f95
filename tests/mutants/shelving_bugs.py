"""Bugs of servers that are shelved, and come back."""

from __future__ import annotations

from tests.mutants.bug import Bug, Harm

S, L = Harm.SAFETY, Harm.LIVENESS

ROWS = "tests/contract/store/test_shelving.py"
HOST = "tests/unit/compute/test_shelving.py"
DISKS = "tests/unit/compute/test_carry.py"
API = "tests/api/compute/test_shelving_api.py"


def bug(name: str, harm: Harm, file: str, old: str, new: str, *tests: str) -> Bug:
    return Bug(name=name, harm=harm, file=f"fabric/{file}", old=old, new=new, tests=tests)


SHELVING_BUGS = (
    bug(
        "a shelved server keeps its host",
        L,
        "store/apply/shelve_steps.py",
        '        "host_id": None,\n',
        "",
        ROWS,
    ),
    bug(
        "an old word of a host makes a server that was started again an image",
        S,
        "store/apply/shelving.py",
        "    need_newest_work(row, command.generation)\n",
        "",
        ROWS,
    ),
    bug(
        "any host may say of a server that it is an image",
        S,
        "store/apply/shelving.py",
        "    need_own(row, command.host_id)\n",
        "",
        ROWS,
    ),
    bug(
        "a guest that could not be shelved stays off",
        L,
        "store/apply/shelve_steps.py",
        "    if row.desired == Desired.STOPPED.value:\n",
        "    if True:\n",
        ROWS,
    ),
    bug(
        "one that may run where it was placed is unshelved elsewhere, too",
        S,
        "store/apply/shelve_steps.py",
        "    if row.host_id is None:\n",
        "    if True:\n",
        ROWS,
    ),
    bug(
        "the image of a server is forgotten before a guest runs that was built from it",
        S,
        "store/apply/servers_host.py",
        '    if values.get("vm_state") != VmState.ACTIVE.value:\n',
        "    if False:\n",
        ROWS,
    ),
    bug(
        "a deleted server's image stays for ever",
        L,
        "store/apply/servers_act.py",
        "            holders = forget_shelved(context, row)\n",
        "            holders: list[str] = []\n",
        ROWS,
    ),
    bug(
        "a server comes back from the image that it was made from",
        S,
        "store/query/shelved.py",
        "    return saved[server.server_id].image_id if server.server_id in saved else server.image_id\n",
        "    return server.image_id\n",
        ROWS,
    ),
    bug(
        "the disk of a former stay comes back",
        S,
        "compute/build_server.py",
        "        if noted is not None and noted.base_path == self._images.path_of(assigned.image):\n",
        "        if noted is not None:\n",
        HOST,
    ),
    bug(
        "a disk that was shelved once is rebased onto the image of its server",
        S,
        "compute/carry.py",
        '        if image is not None and base.sha256 in ("", image.sha256):\n',
        "        if image is not None:\n",
        DISKS,
    ),
    bug(
        "copies that a killed agent left fill the disk",
        L,
        "compute/save_root.py",
        "        shutil.rmtree(directory, ignore_errors=True)\n",
        "",
        HOST,
    ),
    bug(
        "a member may choose the host that it is unshelved to",
        S,
        "control/shelving.py",
        "    if where.host is not None:\n",
        "    if False:\n",
        API,
    ),
)
