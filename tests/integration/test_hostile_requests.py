"""What a hostile or broken client can do to a running fabric: be told why not, and change nothing.

One agent, real sockets. `raw` speaks bytes, so that no client library mends what is sent.
"""

from __future__ import annotations

import http.client
import json
import socket
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import pytest

from fabric.dev.cloud_client import CloudAnswerError, CloudClient
from fabric.dev.up import PASSWORD_FILE
from tests.fixtures.dev_fabric import Running, eventually, running_fabric
from tests.fixtures.request_fuzz import Fuzzer, routes

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

NETWORKS = "/network/v2.0/networks"
SERVERS = "/compute/v2.1/servers"
ANSWER_TIMEOUT_S = 20.0
FUZZ_ROUNDS = 8
LISTS = {
    "servers": f"{SERVERS}/detail",
    "flavors": "/compute/v2.1/flavors/detail",
    "keypairs": "/compute/v2.1/os-keypairs",
    "images": "/image/v2/images",
    "networks": NETWORKS,
    "subnets": "/network/v2.0/subnets",
    "ports": "/network/v2.0/ports",
    "security_groups": "/network/v2.0/security-groups",
    "users": "/identity/v3/users",
    "projects": "/identity/v3/projects",
    "roles": "/identity/v3/roles",
}


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    text: str

    def json(self) -> Any:
        return json.loads(self.text)


class Site:
    """The running fabric, and a way to say anything to its API."""

    def __init__(self, running: Running) -> None:
        self.running = running
        self.host, self.port = running.layout.api_host, running.layout.api_port
        self.admin = self.login("admin", (running.directory / PASSWORD_FILE).read_text(), "admin")

    def login(self, user: str, password: str, project: str) -> str:
        body = {
            "auth": {
                "identity": {
                    "methods": ["password"],
                    "password": {"user": {"name": user, "domain": {"name": "Default"}, "password": password}},
                },
                "scope": {"project": {"name": project, "domain": {"name": "Default"}}},
            }
        }
        connection = http.client.HTTPConnection(self.host, self.port, timeout=ANSWER_TIMEOUT_S)
        try:
            connection.request("POST", "/identity/v3/auth/tokens", json.dumps(body))
            answer = connection.getresponse()
            assert answer.status == 201, answer.read()
            return str(answer.getheader("X-Subject-Token"))
        finally:
            connection.close()

    def call(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        token: str | None = None,
        headers: dict[str, str] | None = None,
    ) -> Answer:
        data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
        send = {"X-Auth-Token": token or self.admin, "Content-Type": "application/json"} | (headers or {})
        connection = http.client.HTTPConnection(self.host, self.port, timeout=ANSWER_TIMEOUT_S)
        try:
            connection.request(method, path, data, send)
            answer = connection.getresponse()
            return Answer(answer.status, answer.read().decode())
        finally:
            connection.close()

    def raw(self, data: bytes) -> tuple[list[int], str]:
        """Sends the bytes; every status line that came back until the far side closed, and all the text."""
        with socket.create_connection((self.host, self.port), timeout=ANSWER_TIMEOUT_S) as stream:
            found = b""
            try:
                stream.sendall(data)
                while part := stream.recv(65_536):
                    found += part
            except ConnectionError:
                pass  # it would not even hear us out
        lines = [line for line in found.split(b"\r\n") if line.startswith(b"HTTP/1.")]
        return [int(line.split()[1]) for line in lines], found.decode(errors="replace")

    def state(self) -> dict[str, Any]:
        """Everything a list shows."""
        return {name: self.call("GET", path).json()[name] for name, path in LISTS.items()}

    def errors_logged(self) -> list[str]:
        lines = self.running.node("h1").log.read_text().splitlines()
        return [line for line in lines if '"level": "ERROR"' in line or '"level": "CRITICAL"' in line]


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    with running_fabric("sim", nodes=1) as running:
        yield Site(running)


@pytest.fixture
def unchanged(site: Site) -> Iterator[None]:
    """What the lists show is the same before and after, and nothing was an error of ours."""
    before, errors = site.state(), len(site.errors_logged())
    yield
    assert site.state() == before
    assert site.errors_logged()[errors:] == []


def post(path: str, body: bytes, *lines: str, method: str = "POST") -> bytes:
    head = [f"{method} {path} HTTP/1.1", "Host: x", "Connection: close", "X-Auth-Token: TOKEN"]
    head += ["Content-Type: application/json", f"Content-Length: {len(body)}", *lines]
    return "\r\n".join(head).encode("latin-1") + b"\r\n\r\n" + body


def framed(*lines: str, body: bytes = b"") -> bytes:
    head = [f"POST {NETWORKS} HTTP/1.1", "Host: x", "Connection: close", "X-Auth-Token: TOKEN", *lines]
    return "\r\n".join(head).encode("latin-1") + b"\r\n\r\n" + body


EVIL = post(NETWORKS, b'{"network": {"name": "smuggled"}}')
NO_HTTP = {
    "not http": b"GARBAGE\r\n\r\n",
    "http/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "tls": b"\x16\x03\x01\x00\xa5\x01\x00\x00\xa1\x03\x03" + b"x" * 50,
    "unknown method": post(NETWORKS, b"", method="BREW"),
    "long url": post(f"{NETWORKS}?name={'a' * 20_000}", b"", method="GET"),
    "long header": post(NETWORKS, b"", "X-Long: " + "a" * 20_000, method="GET"),
    "thousands of headers": post(NETWORKS, b"", *(f"X-{i}: 1" for i in range(5_000)), method="GET"),
    "bare line feeds": post(NETWORKS, b"", method="GET").replace(b"\r\n", b"\n"),
    "space before colon": post(NETWORKS, b"", "X-A : b", method="GET"),
    "nul in header": post(NETWORKS, b"", "X-A: a\0b", method="GET"),
    "no host": post(NETWORKS, b"", method="GET").replace(b"Host: x\r\n", b""),
    "length and chunked": framed("Content-Length: 5", "Transfer-Encoding: chunked", body=b"0\r\n\r\n" + EVIL),
    "two lengths": framed("Content-Length: 2", "Content-Length: 40", body=b"{}" + EVIL),
    "negative length": framed("Content-Length: -5"),
    "signed length": framed("Content-Length: +2", body=b"{}"),
    "endless length": framed("Content-Length: " + "9" * 40, body=b"{}"),
    "unknown transfer coding": framed("Transfer-Encoding: xchunked", body=b"0\r\n\r\n" + EVIL),
    "bad chunk size": framed(
        "Content-Type: application/json", "Transfer-Encoding: chunked", body=b"ZZ\r\n{}\r\n0\r\n\r\n"
    ),
}


@pytest.mark.usefixtures("unchanged")
@pytest.mark.parametrize("data", NO_HTTP.values(), ids=NO_HTTP.keys())
def test_what_is_no_http_is_refused_whole(site: Site, data: bytes) -> None:
    """One refusal and the end of the connection: what follows is never read as a request of its own."""
    statuses, _ = site.raw(data.replace(b"TOKEN", site.admin.encode()))
    assert set(statuses) == {400}
    assert site.admin not in site.running.node("h1").log.read_text()


def network(text: bytes) -> bytes:
    return b'{"network": {"name": ' + text + b"}}"


BODIES = {
    "empty": (b"", 400, "empty"),
    "cut off": (b'{"network": {"na', 400, "Malformed request body"),
    "an array": (b"[]", 400, "object"),
    "null": (b"null", 400, "object"),
    "unknown field": (b'{"network": {"bogus": 1}}', 400, "bogus"),
    "wrong type": (network(b"7"), 400, "name"),
    "wrong type inside": (b'{"network": {"admin_state_up": {"a": []}}}', 400, "admin_state_up"),
    "negative": (b'{"network": {"mtu": -1}}', 400, "mtu"),
    "not a number": (b'{"network": {"mtu": NaN}}', 400, "out of range"),
    "thousands of digits": (b'{"network": {"mtu": ' + b"9" * 5_000 + b"}}", 400, "out of range"),
    "name of 10,000": (network(b'"' + b"a" * 10_000 + b'"'), 400, "name"),
    "nul": (network(rb'"a\u0000b"'), 400, "name"),
    "lone surrogate": (network(rb'"\ud800"'), 400, "name"),
    "not utf-8": (network(b'"\xff"'), 400, "not UTF-8"),
    "utf-16": ('{"network": {}}'.encode("utf-16"), 400, "not UTF-8"),
    "byte order mark": (b'\xef\xbb\xbf{"network": {}}', 400, "Malformed request body"),
    "twice": (b'{"network": {"name": "a"}, "network": {"name": "b"}}', 400, "network is given twice"),
    "twice inside": (b'{"network": {"name": "a", "name": "b"}}', 400, "name is given twice"),
    "deep arrays": (b"[" * 100_000, 400, "nested"),
    "deep objects": (b'{"a":' * 5_000 + b"1" + b"}" * 5_000, 400, "nested"),
    "too large": (network(b'"' + b"a" * 300_000 + b'"'), 413, "larger than"),
}


@pytest.mark.usefixtures("unchanged")
@pytest.mark.parametrize(("body", "status", "said"), BODIES.values(), ids=BODIES.keys())
def test_bad_bodies(site: Site, body: bytes, status: int, said: str) -> None:
    answer = site.call("POST", NETWORKS, body)
    assert answer.status == status, answer.text
    assert said in answer.json()["NeutronError"]["message"]


@pytest.mark.usefixtures("unchanged")
@pytest.mark.parametrize("coding", ["gzip", "deflate", "br", "zstd", "nonsense"])
@pytest.mark.parametrize("path", [NETWORKS, "/image/v2/images"])
def test_packed_bodies_are_not_unpacked(site: Site, path: str, coding: str) -> None:
    answer = site.call("POST", path, b"\x1f\x8bxxxx", headers={"Content-Encoding": coding})
    assert answer.status == 415
    assert "Content-Encoding" in answer.text


@pytest.mark.usefixtures("unchanged")
def test_a_client_that_goes_away_in_mid_body_is_no_error(site: Site) -> None:
    data = framed("Content-Type: application/json", "Content-Length: 100", body=b'{"network": {"na')
    with socket.create_connection((site.host, site.port), timeout=ANSWER_TIMEOUT_S) as stream:
        stream.sendall(data.replace(b"TOKEN", site.admin.encode()))
    log = site.running.node("h1").log
    eventually(lambda: '"status": 400' in log.read_text().splitlines()[-1], what="the end of the request")


ODD_REQUESTS = {
    "unknown id": ("GET", f"{SERVERS}/nope", None, {}, 404),
    "nul in path": ("GET", f"{NETWORKS}/%00", None, {}, 404),
    "bad escapes": ("GET", f"{NETWORKS}/%zz%ff", None, {}, 404),
    "dots": ("GET", "/network/../network/v2.0/nope", None, {}, 404),
    "double slash": ("GET", "//network//v2.0/networks", None, {}, 404),
    "no such path": ("GET", "/compute/v2.1/nope", None, {}, 404),
    "no such mount": ("GET", "/nope", None, {}, 404),
    "wrong method": ("TRACE", NETWORKS, None, {}, 405),
    "form": ("POST", NETWORKS, b"a=b", {"Content-Type": "application/x-www-form-urlencoded"}, 415),
    "limit below zero": ("GET", f"{NETWORKS}?limit=-1", None, {}, 400),
    "limit no number": ("GET", f"{NETWORKS}?limit=%ff", None, {}, 400),
    "server limit huge": ("GET", f"{SERVERS}?limit={'9' * 400}", None, {}, 400),
    "marker unknown": ("GET", f"{SERVERS}?marker=nope", None, {}, 400),
    "network marker unknown": ("GET", f"{NETWORKS}?marker=nope", None, {}, 400),
    "sort key unknown": ("GET", f"{SERVERS}?sort_key=__class__", None, {}, 400),
    "thousands of parameters": ("GET", f"{NETWORKS}?{'a&' * 1_000}", None, {}, 400),
    "microversion too new": ("GET", SERVERS, None, {"OpenStack-API-Version": "compute 2.999"}, 406),
    "microversion 9": ("GET", SERVERS, None, {"X-OpenStack-Nova-API-Version": "9.0"}, 406),
    "microversion no number": ("GET", SERVERS, None, {"OpenStack-API-Version": "compute two"}, 400),
    "microversion no text": ("GET", SERVERS, None, {"OpenStack-API-Version": "compute \xff"}, 400),
    "unknown expectation": ("POST", NETWORKS, b"{}", {"Expect": "a-miracle"}, 417),
    "no token": ("GET", SERVERS, None, {"X-Auth-Token": ""}, 401),
    "made-up token": ("GET", SERVERS, None, {"X-Auth-Token": "gAAAAAB" + "x" * 200}, 401),
    "token of bytes": ("GET", SERVERS, None, {"X-Auth-Token": "\xff\xfe"}, 401),
    "token of 5,000": ("GET", SERVERS, None, {"X-Auth-Token": "a" * 5_000}, 401),
}


@pytest.mark.usefixtures("unchanged")
@pytest.mark.parametrize(
    ("method", "path", "body", "headers", "status"), ODD_REQUESTS.values(), ids=ODD_REQUESTS.keys()
)
def test_odd_requests(
    site: Site, method: str, path: str, body: bytes | None, headers: dict[str, str], status: int
) -> None:
    answer = site.call(method, path, body, headers=headers)
    assert answer.status == status, answer.text
    assert answer.text


@pytest.mark.usefixtures("unchanged")
@pytest.mark.parametrize(
    ("password", "project"), [("wrong", "admin"), ("", "admin"), ("x" * 10_000, "admin"), (None, "nope")]
)
def test_wrong_credentials(site: Site, password: str | None, project: str) -> None:
    right = (site.running.directory / PASSWORD_FILE).read_text()
    client = CloudClient(site.running.layout.api_urls[0])
    with pytest.raises(CloudAnswerError) as refused:
        client.login("admin", right if password is None else password, project)
    assert refused.value.status in (400, 401)
    assert right not in str(refused.value)


def member(site: Site, name: str, role: str) -> str:
    """A user with one role in a new project of the same name; returns a token."""
    project = site.call("POST", "/identity/v3/projects", {"project": {"name": name}}).json()["project"]
    user = {"name": name, "password": "correct horse"}
    user = site.call("POST", "/identity/v3/users", {"user": user}).json()["user"]
    roles = site.call("GET", "/identity/v3/roles").json()["roles"]
    role_id = next(each["id"] for each in roles if each["name"] == role)
    path = f"/identity/v3/projects/{project['id']}/users/{user['id']}/roles/{role_id}"
    assert site.call("PUT", path).status == 204
    return site.login(name, "correct horse", name)


def server_body(site: Site, name: str, **fields: Any) -> dict[str, Any]:
    image = site.call("GET", "/image/v2/images?name=guest").json()["images"][0]["id"]
    net = site.call("GET", f"{NETWORKS}?name=private").json()["networks"][0]["id"]
    body = {"name": name, "imageRef": image, "flavorRef": "m1.nano", "networks": [{"uuid": net}]}
    return {"server": body | fields}


def test_a_revoked_token_opens_nothing(site: Site) -> None:
    token = member(site, "revoked", "member")
    assert site.call("GET", SERVERS, token=token).status == 200
    done = site.call("DELETE", "/identity/v3/auth/tokens", token=token, headers={"X-Subject-Token": token})
    assert done.status == 204
    for path in (SERVERS, NETWORKS, "/image/v2/images", "/identity/v3/auth/projects"):
        assert site.call("GET", path, token=token).status == 401


def test_a_reader_reads_and_changes_nothing(site: Site) -> None:
    token = member(site, "onlooker", "reader")
    before = site.state()
    assert site.call("GET", SERVERS, token=token).status == 200
    asked = (
        ("POST", SERVERS, server_body(site, "no")),
        ("POST", NETWORKS, {"network": {"name": "no"}}),
        ("POST", "/image/v2/images", {"name": "no"}),
        ("POST", "/compute/v2.1/flavors", {"flavor": {"name": "no", "ram": 1, "vcpus": 1, "disk": 0}}),
        ("POST", "/identity/v3/projects", {"project": {"name": "no"}}),
    )
    for method, path, body in asked:
        answer = site.call(method, path, body, token=token)
        assert answer.status == 403, f"{path}: {answer}"
    assert site.state() == before


def test_another_projects_server_is_not_there(site: Site) -> None:
    stranger = member(site, "stranger", "member")
    made = site.call("POST", SERVERS, server_body(site, "mine"))
    assert made.status == 202, made.text
    server_id = made.json()["server"]["id"]
    site.running.wait_status(server_id, "ACTIVE")
    path = f"{SERVERS}/{server_id}"
    asked = (
        ("GET", path, None),
        ("PUT", path, {"server": {"name": "theirs"}}),
        ("DELETE", path, None),
        ("POST", f"{path}/action", {"os-stop": None}),
        ("POST", f"{path}/action", {"os-getConsoleOutput": {}}),
        ("GET", f"{path}/os-interface", None),
    )
    for method, where, body in asked:
        answer = site.call(method, where, body, token=stranger)
        assert answer.status == 404, f"{method} {where}: {answer}"
    assert site.call("GET", SERVERS, token=stranger).json()["servers"] == []
    shown = site.running.show(server_id)
    assert (shown["name"], shown["status"]) == ("mine", "ACTIVE")
    site.running.delete(server_id)


def test_what_fits_nowhere_says_what_was_missing(site: Site) -> None:
    flavor = {"name": "whale", "id": "whale", "ram": 16 << 20, "vcpus": 1, "disk": 0}
    assert site.call("POST", "/compute/v2.1/flavors", {"flavor": flavor}).status == 200
    quota = {"quota_set": {"ram": -1}}
    admin = next(p for p in site.call("GET", LISTS["projects"]).json()["projects"] if p["name"] == "admin")
    assert site.call("PUT", f"/compute/v2.1/os-quota-sets/{admin['id']}", quota).status == 200
    made = site.call("POST", SERVERS, server_body(site, "whale", flavorRef="whale"))
    assert made.status == 202, made.text
    server_id = made.json()["server"]["id"]
    fault = site.running.wait_status(server_id, "ERROR")["fault"]
    assert "not enough memory" in fault["message"], fault
    assert "h1: needs 16777216 MB" in fault["details"], fault
    site.running.delete(server_id)
    assert site.call("DELETE", "/compute/v2.1/flavors/whale").status == 202
    assert site.call("DELETE", f"/compute/v2.1/os-quota-sets/{admin['id']}").status == 202


def test_twenty_creates_at_once_at_a_quota_of_ten(site: Site) -> None:
    token = member(site, "crowd", "member")
    body = server_body(site, "one")
    with ThreadPoolExecutor(20) as pool:
        answers = list(pool.map(lambda _: site.call("POST", SERVERS, body, token=token), range(20)))
    assert Counter(answer.status for answer in answers) == {202: 10, 403: 10}
    for answer in answers:
        if answer.status == 403:
            assert "instances" in answer.json()["forbidden"]["message"]
    found = site.call("GET", SERVERS, token=token).json()["servers"]
    made = {answer.json()["server"]["id"] for answer in answers if answer.status == 202}
    assert {server["id"] for server in found} == made

    def delete(server_id: str) -> int:
        return site.call("DELETE", f"{SERVERS}/{server_id}", token=token).status

    with ThreadPoolExecutor(20) as pool:
        statuses = list(pool.map(delete, [*made, *made]))  # each of them twice, at once
    assert set(statuses) <= {204, 404}
    assert statuses.count(204) >= len(made)
    eventually(lambda: site.call("GET", SERVERS, token=token).json()["servers"] == [], what="all gone")
    eventually(lambda: _ports_of_servers(site) == [], what="no port left")
    limits = site.call("GET", "/compute/v2.1/limits", token=token).json()["limits"]["absolute"]
    assert (limits["totalInstancesUsed"], limits["totalCoresUsed"], limits["totalRAMUsed"]) == (0, 0, 0)


def _ports_of_servers(site: Site) -> list[Any]:
    ports = site.call("GET", LISTS["ports"]).json()["ports"]
    return [port for port in ports if port["device_owner"].startswith("compute:")]


def test_the_same_thing_made_twenty_times_at_once_is_there_once(site: Site) -> None:
    key = (site.running.directory / "id_ed25519.pub").read_text().strip()
    asked: dict[str, dict[str, Any]] = {
        "/compute/v2.1/flavors": {"flavor": {"name": "x", "id": "x", "ram": 1, "vcpus": 1, "disk": 0}},
        "/compute/v2.1/os-keypairs": {"keypair": {"name": "x", "public_key": key}},
        "/identity/v3/projects": {"project": {"name": "x"}},
        "/identity/v3/roles": {"role": {"name": "x"}},
    }
    for path, body in asked.items():
        with ThreadPoolExecutor(20) as pool:
            answers = list(pool.map(site.call, ["POST"] * 20, [path] * 20, [body] * 20))
        statuses = Counter(answer.status for answer in answers)
        assert statuses[200] + statuses[201] == 1, (path, statuses)
        assert statuses[409] == 19, (path, statuses)


def test_no_request_whatever_is_an_error_of_ours(site: Site) -> None:
    """Every route, some rounds of nearly right and quite wrong requests: never a 500, and still alive."""
    errors = len(site.errors_logged())
    ids = {
        kind.rstrip("s"): [str(item["id"]) for item in site.call("GET", path).json()[kind]]
        for kind, path in LISTS.items()
        if kind != "keypairs"
    }
    fuzzer = Fuzzer(20_260_101, ids)
    connection = http.client.HTTPConnection(site.host, site.port, timeout=ANSWER_TIMEOUT_S)
    statuses: Counter[int] = Counter()
    for _ in range(FUZZ_ROUNDS):
        for request in fuzzer.round():
            connection.request(
                request.method, request.path, request.body, {**request.headers, "X-Auth-Token": site.admin}
            )
            answer = connection.getresponse()
            text = answer.read()
            assert answer.status < 500 or answer.status == 501, f"{request}: {answer.status} {text!r}"
            statuses[answer.status] += 1
    connection.close()
    assert sum(statuses.values()) == FUZZ_ROUNDS * len(routes())
    assert {200, 400, 404} <= set(statuses)
    assert site.errors_logged()[errors:] == []
    assert site.call("GET", SERVERS).status == 200
