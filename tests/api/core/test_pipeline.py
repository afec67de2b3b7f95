"""One request through the pipeline: request ids, tokens, microversions, schemas, faults."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from fabric.api.faults import GLANCE, KEYSTONE, NEUTRON, NOVA, PLACEMENT, ApiError, Dialect
from fabric.api.microversion import MAX, Microversion
from fabric.api.request import CLOUD, body, caller, global_request_id, microversion, request_id
from fabric.api.responses import empty_response, json_response
from fabric.api.routing import Route, build_app
from fabric.api.validation import JSON_BYTES_MAX, single
from fabric.control import errors
from fabric.core.queries import MarkerNotFoundError
from fabric.errors import CommandRejectedError, DeadlineExceededError, NoQuorumError
from proto.ids import LogIndex, is_request_id
from tests.api.core.state_double import cloud_double, token_for

V = Microversion
ERRORS: dict[str, Exception] = {
    "invalid": errors.InvalidError("bad field"),
    "forbidden": errors.ForbiddenError("no"),
    "quota": errors.QuotaError("Quota exceeded for cores"),
    "missing": errors.NotFoundError("gone"),
    "conflict": errors.ConflictError("in vm_state x"),
    "large": errors.TooLargeError("big"),
    "unavailable": errors.UnavailableError("later"),
    "rejected": CommandRejectedError("busy", "in use"),
    "rejected_quota": CommandRejectedError("quota", "Quota exceeded"),
    "no_quorum": NoQuorumError("x"),
    "deadline": DeadlineExceededError("x"),
    "marker": MarkerNotFoundError(),
    "teapot": ApiError(418, "short and stout", type_name="TeaPot"),
    "bug": RuntimeError("secret internals"),
}
BODY = {
    "type": "object",
    "properties": {"name": {"type": "string", "maxLength": 10}},
    "required": ["name"],
    "additionalProperties": False,
}
BODY_250 = {**BODY, "properties": {**BODY["properties"], "tag": {"type": "string"}}}


async def _whoami(request: web.Request) -> web.Response:
    who = caller(request)
    return json_response(
        {
            "user": who.user_id,
            "project": who.project_id,
            "roles": sorted(who.roles),
            "request_id": request_id(request),
            "global": global_request_id(request),
        }
    )


async def _raise(request: web.Request) -> web.Response:
    raise ERRORS[request.match_info["name"]]


async def _echo(request: web.Request) -> web.Response:
    return json_response(body(request))


async def _version(request: web.Request) -> web.Response:
    return json_response({"version": str(microversion(request))})


async def _empty(request: web.Request) -> web.Response:
    return empty_response(202)


async def _stream(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse()
    await response.prepare(request)
    await response.write(b"chunk")
    return response


ROUTES = (
    Route("GET", "/v2.1/whoami", _whoami),
    Route("GET", "/v2.1/raise/{name}", _raise),
    Route("POST", "/v2.1/things", _echo, body=((V(2, 1), BODY), (V(2, 50), BODY_250))),
    Route(
        "GET",
        "/v2.1/things",
        _version,
        query={"type": "object", "properties": {"limit": single({"type": "string", "pattern": "^[0-9]+$"})}},
    ),
    Route("GET", "/v2.1/ranged", _version, since=V(2, 10), until=V(2, 20)),
    Route("GET", "/v2.1/ranged", _empty, since=V(2, 30)),
    Route("GET", "/v2.1/stream", _stream),
    Route("GET", "/v2.1/public", _empty, public=True),
)

Client = TestClient[web.Request, web.Application]


class Harness:
    def __init__(self, client: Client, token: str) -> None:
        self.client = client
        self.token = token

    async def ask(
        self, method: str, path: str, *, with_token: bool = True, **more: Any
    ) -> tuple[int, Any, dict[str, str]]:
        headers = dict(more.pop("headers", {}))
        if with_token:
            headers["X-Auth-Token"] = self.token
        async with self.client.request(method, path, headers=headers, **more) as answer:
            text = await answer.text()
            is_json = text and answer.content_type == "application/json"
            return answer.status, await answer.json() if is_json else text, dict(answer.headers)


async def _harness(dialect: Dialect) -> AsyncIterator[Harness]:
    app = build_app("test", ROUTES, dialect)
    cloud = cloud_double()
    app[CLOUD] = cloud
    async with TestClient(TestServer(app)) as client:
        yield Harness(client, await token_for(cloud))


@pytest.fixture
async def nova() -> AsyncIterator[Harness]:
    async for harness in _harness(NOVA):
        yield harness


async def test_a_token_becomes_a_caller_with_implied_roles(nova: Harness) -> None:
    status, body_, _ = await nova.ask("GET", "/v2.1/whoami")
    assert status == 200
    assert (body_["user"], body_["project"], body_["roles"]) == ("u1", "p1", ["member", "reader"])


@pytest.mark.parametrize(
    "token", ["", "nonsense", "gAAAA" + "x" * 5000, "ünicode".encode().decode("latin-1")]
)
async def test_a_bad_token_is_401_with_the_way_in(nova: Harness, token: str) -> None:
    nova.token = token
    status, body_, headers = await nova.ask("GET", "/v2.1/whoami")
    assert status == 401
    assert body_["unauthorized"]["code"] == 401
    assert headers["WWW-Authenticate"].startswith('Keystone uri="http://127.0.0.1:')
    assert headers["WWW-Authenticate"].endswith('/identity"')


async def test_public_routes_need_no_token_and_202_has_no_body(nova: Harness) -> None:
    status, text, headers = await nova.ask("GET", "/v2.1/public", with_token=False)
    assert (status, text, headers["Content-Length"]) == (202, "", "0")


async def test_each_answer_has_its_own_request_id(nova: Harness) -> None:
    _, first, headers = await nova.ask("GET", "/v2.1/whoami")
    _, second, _ = await nova.ask("GET", "/v2.1/whoami")
    assert is_request_id(headers["x-openstack-request-id"])
    assert headers["x-compute-request-id"] == headers["x-openstack-request-id"] == first["request_id"]
    assert first["request_id"] != second["request_id"]


@pytest.mark.parametrize(
    ("sent", "is_kept"),
    [("req-12345678-1234-1234-1234-123456789abc", True), ("req-x", False), ("'; drop", False), ("", False)],
)
async def test_a_global_request_id_is_kept_only_when_well_formed(
    nova: Harness, sent: str, is_kept: bool
) -> None:
    _, body_, headers = await nova.ask("GET", "/v2.1/whoami", headers={"X-OpenStack-Request-ID": sent})
    assert body_["global"] == (sent if is_kept else None)
    assert headers["x-openstack-request-id"] != sent  # one global id may cover many requests


async def test_streams_carry_the_headers_too(nova: Harness) -> None:
    _, text, headers = await nova.ask("GET", "/v2.1/stream")
    assert text == "chunk"
    assert is_request_id(headers["x-openstack-request-id"])
    assert headers["OpenStack-API-Version"] == "compute 2.1"


@pytest.mark.parametrize(
    ("headers", "version"),
    [
        ({}, "2.1"),
        ({"OpenStack-API-Version": "compute 2.50, volume 3.1"}, "2.50"),
        ({"OpenStack-API-Version": "volume 3.1,compute 2.7"}, "2.7"),
        ({"OpenStack-API-Version": "volume 3.1"}, "2.1"),
        ({"X-OpenStack-Nova-API-Version": "2.9"}, "2.9"),
        ({"X-OpenStack-Nova-API-Version": "2.9", "OpenStack-API-Version": "compute 2.8"}, "2.8"),
        ({"OpenStack-API-Version": "compute latest"}, str(MAX)),
    ],
)
async def test_microversions_are_negotiated_and_named(
    nova: Harness, headers: dict[str, str], version: str
) -> None:
    status, body_, answer = await nova.ask("GET", "/v2.1/things", headers=headers)
    assert (status, body_) == (200, {"version": version})
    assert answer["OpenStack-API-Version"] == f"compute {version}"
    assert answer["X-OpenStack-Nova-API-Version"] == version
    assert "OpenStack-API-Version" in answer["Vary"]


async def test_a_4xx_names_the_version_too(nova: Harness) -> None:
    status, _, answer = await nova.ask(
        "GET", "/v2.1/raise/missing", headers={"OpenStack-API-Version": "compute 2.7"}
    )
    assert (status, answer["OpenStack-API-Version"]) == (404, "compute 2.7")


@pytest.mark.parametrize("text", ["2.9999", "3.1", "2.0", "1.1"])
async def test_an_unsupported_microversion_is_406(nova: Harness, text: str) -> None:
    status, body_, _ = await nova.ask(
        "GET", "/v2.1/things", headers={"OpenStack-API-Version": f"compute {text}"}
    )
    message = f"Version {text} is not supported by the API. Minimum is 2.1 and maximum is {MAX}."
    assert status == 406
    assert body_ == {"computeFault": {"code": 406, "message": message}}


@pytest.mark.parametrize("text", ["2", "two", "2.1.1", "2.01", "02.1", "-2.1", "2." + "9" * 50, ""])
async def test_a_malformed_microversion_is_400(nova: Harness, text: str) -> None:
    status, body_, _ = await nova.ask("GET", "/v2.1/things", headers={"X-OpenStack-Nova-API-Version": text})
    assert status == 400
    assert "invalid format" in body_["badRequest"]["message"]


@pytest.mark.parametrize(("version", "status"), [("2.9", 404), ("2.10", 200), ("2.20", 200), ("2.21", 404)])
async def test_a_route_answers_only_in_its_range(nova: Harness, version: str, status: int) -> None:
    got, _, _ = await nova.ask("GET", "/v2.1/ranged", headers={"OpenStack-API-Version": f"compute {version}"})
    assert got == status


async def test_ranges_of_one_path_choose_the_handler(nova: Harness) -> None:
    got, _, _ = await nova.ask("GET", "/v2.1/ranged", headers={"OpenStack-API-Version": "compute 2.30"})
    assert got == 202


async def test_v2_is_the_api_without_microversions(nova: Harness) -> None:
    status, body_, answer = await nova.ask(
        "GET", "/v2/things", headers={"OpenStack-API-Version": "compute 2.50"}
    )
    assert (status, body_) == (200, {"version": "2.1"})
    assert "OpenStack-API-Version" not in answer


async def test_schemas_follow_the_version(nova: Harness) -> None:
    thing = {"name": "a", "tag": "b"}
    status, body_, _ = await nova.ask("POST", "/v2.1/things", json=thing)
    assert status == 400
    assert "Additional properties are not allowed ('tag' was unexpected)" in body_["badRequest"]["message"]
    status, body_, _ = await nova.ask(
        "POST", "/v2.1/things", json=thing, headers={"OpenStack-API-Version": "compute 2.50"}
    )
    assert (status, body_) == (200, thing)


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"{", "Malformed request body"),
        (b"", "it is empty"),
        (b"\xff\xfe", "not UTF-8"),
        (b'{"name": NaN}', "a number is out of range"),
        (b'{"name": ' + b"1" * 5000 + b"}", "a number is out of range"),
        (b'{"name": 1e999}', "name. It is out of range"),
        (b"[" * 100_000, "nested deeper"),
        (b'{"name": ' + b"[" * 40 + b"]" * 40 + b"}", "nested deeper than 32"),
        (b'{"name": "a\\u0000b"}', "name. NUL"),
        (b'{"name": "a\\ud800b"}', "name. NUL and unpaired surrogates"),
        (b"[]", "[] is not of type 'object'"),
        (b"null", "None is not of type 'object'"),
        (b'{"name": 5}', "Invalid input for field/attribute name. Value: 5. 5 is not of type 'string'"),
        (b'{"name": "aaaaaaaaaaa"}', "name. Value: aaaaaaaaaaa. 'aaaaaaaaaaa' is too long"),
        (b"{}", "'name' is a required property"),
    ],
)
async def test_bad_bodies_are_400_and_say_why(nova: Harness, data: bytes, said: str) -> None:
    status, body_, _ = await nova.ask(
        "POST", "/v2.1/things", data=data, headers={"Content-Type": "application/json"}
    )
    assert status == 400
    assert said in body_["badRequest"]["message"]
    assert len(body_["badRequest"]["message"]) < 1500


async def test_a_name_of_ten_thousand_characters_is_named_but_cut(nova: Harness) -> None:
    status, body_, _ = await nova.ask("POST", "/v2.1/things", json={"name": "a" * 10_000})
    message = body_["badRequest"]["message"]
    assert status == 400
    assert "name" in message
    assert "is too long" in message
    assert len(message) < 1000


async def test_a_body_over_the_limit_is_413_however_it_is_sent(nova: Harness) -> None:
    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(10):
            yield b" " * (JSON_BYTES_MAX // 8)

    for data in (b" " * (JSON_BYTES_MAX + 1), chunks()):
        status, body_, _ = await nova.ask(
            "POST", "/v2.1/things", data=data, headers={"Content-Type": "application/json"}
        )
        assert status == 413
        assert body_["overLimit"]["code"] == 413


async def test_a_body_of_another_type_is_415(nova: Harness) -> None:
    status, body_, _ = await nova.ask("POST", "/v2.1/things", data={"name": "form"})
    assert (status, "badMediaType" in body_) == (415, True)


@pytest.mark.parametrize("query", ["limit=x", "limit=1&limit=2", "limit=%00", "%00=1", "limit=-1"])
async def test_bad_queries_are_400_and_name_the_parameter(nova: Harness, query: str) -> None:
    status, body_, _ = await nova.ask("GET", f"/v2.1/things?{query}")
    assert status == 400
    assert "arameter" in body_["badRequest"]["message"]


@pytest.mark.parametrize(
    ("name", "status", "key"),
    [
        ("invalid", 400, "badRequest"),
        ("forbidden", 403, "forbidden"),
        ("quota", 403, "forbidden"),
        ("rejected_quota", 403, "forbidden"),
        ("missing", 404, "itemNotFound"),
        ("conflict", 409, "conflictingRequest"),
        ("rejected", 409, "conflictingRequest"),
        ("large", 413, "overLimit"),
        ("marker", 400, "badRequest"),
        ("teapot", 418, "computeFault"),
    ],
)
async def test_novas_names_for_errors(nova: Harness, name: str, status: int, key: str) -> None:
    got, body_, _ = await nova.ask("GET", f"/v2.1/raise/{name}")
    assert got == status
    assert list(body_) == [key]
    assert body_[key]["code"] == status


@pytest.mark.parametrize("name", ["unavailable", "no_quorum", "deadline"])
async def test_no_conductor_is_503_with_retry_after(nova: Harness, name: str) -> None:
    status, body_, headers = await nova.ask("GET", f"/v2.1/raise/{name}")
    assert (status, "serviceUnavailable" in body_) == (503, True)
    assert int(headers["Retry-After"]) > 0


async def test_a_bug_is_500_that_tells_the_request_id_and_nothing_else(
    nova: Harness, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.ERROR, logger="fabric.api.faults"):
        status, body_, headers = await nova.ask("GET", "/v2.1/raise/bug")
    message = body_["computeFault"]["message"]
    assert status == 500
    assert headers["x-openstack-request-id"] in message
    assert "secret" not in message
    assert "RuntimeError" not in message
    assert caplog.records[0].exc_info is not None


@pytest.mark.parametrize(
    ("dialect", "shape"),
    [
        (KEYSTONE, {"error": {"code": 404, "message": "gone", "title": "Not Found"}}),
        (NEUTRON, {"NeutronError": {"type": "HTTPNotFound", "message": "gone", "detail": ""}}),
        (GLANCE, {"code": "404 Not Found", "title": "Not Found", "message": "gone"}),
    ],
)
async def test_other_dialects_shapes(dialect: Dialect, shape: object) -> None:
    async for harness in _harness(dialect):
        status, body_, headers = await harness.ask("GET", "/v2.1/raise/missing")
        assert (status, body_) == (404, shape)
        assert "OpenStack-API-Version" not in headers
        assert "x-compute-request-id" not in headers


async def test_placement_names_the_request(nova: Harness) -> None:
    async for harness in _harness(PLACEMENT):
        _, body_, headers = await harness.ask("GET", "/v2.1/raise/missing")
        assert body_["errors"][0]["request_id"] == headers["x-openstack-request-id"]


async def test_network_quota_is_409_and_types_pass_through() -> None:
    async for harness in _harness(NEUTRON):
        status, body_, _ = await harness.ask("GET", "/v2.1/raise/quota")
        assert (status, body_["NeutronError"]["type"]) == (409, "OverQuota")
        _, body_, _ = await harness.ask("GET", "/v2.1/raise/teapot")
        assert body_["NeutronError"]["type"] == "TeaPot"


@pytest.mark.parametrize("path", ["/nothing", "/v2.1/things/deeper", "/v2.1/whoami%00", "/v2.1"])
async def test_unknown_paths_are_404_in_the_dialect(nova: Harness, path: str) -> None:
    status, body_, _ = await nova.ask("GET", path)
    assert (status, list(body_)) == (404, ["itemNotFound"])


async def test_a_known_path_with_another_method_is_405(nova: Harness) -> None:
    status, body_, headers = await nova.ask("DELETE", "/v2.1/things")
    assert (status, list(body_)) == (405, ["badMethod"])
    assert "GET" in headers["Allow"]


async def test_head_is_get_without_a_body_and_a_slash_is_optional(nova: Harness) -> None:
    status, text, headers = await nova.ask("HEAD", "/v2.1/whoami/")
    assert (status, text) == (200, "")
    assert int(headers["Content-Length"]) > 0


async def test_expect_100_continue_is_answered(nova: Harness) -> None:
    status, body_, _ = await nova.ask("POST", "/v2.1/things", json={"name": "a"}, expect100=True)
    assert (status, body_) == (200, {"name": "a"})


async def test_a_cancelled_request_is_not_swallowed() -> None:
    started = asyncio.Event()
    ended = asyncio.Event()

    async def wait(request: web.Request) -> web.Response:
        started.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()
        return empty_response()

    app = build_app("test", (Route("GET", "/wait", wait, public=True),), KEYSTONE)
    app[CLOUD] = cloud_double()
    server = TestServer(app)
    async with TestClient(server) as client:
        task = asyncio.create_task(client.get("/wait"))
        await started.wait()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    await asyncio.wait_for(ended.wait(), 5)


def test_overlapping_ranges_are_refused_at_start() -> None:
    with pytest.raises(AssertionError, match="ranges meet"):
        build_app("test", (Route("GET", "/a", _empty), Route("GET", "/a", _version, since=V(2, 10))), NOVA)


# -- which rows answer


@pytest.mark.parametrize("path", ["/v2.1/whoami", "/v2.1/stream", "/v2.1/raise/missing", "/v2.1/public"])
async def test_every_answer_says_up_to_where_the_rows_were(nova: Harness, path: str) -> None:
    _, _, headers = await nova.ask("GET", path)
    assert headers["X-Fabric-Index"] == "1"


@pytest.mark.parametrize("sent", ["", "x", "-1", "1.5", "\u0661", "9" * 30, "0" * 5_000])
async def test_an_index_that_is_none_is_400(nova: Harness, sent: str) -> None:
    status, answer, _ = await nova.ask("GET", "/v2.1/public", headers={"X-Fabric-Index": sent})
    assert status == 400
    assert "X-Fabric-Index" in str(answer)


async def test_who_names_an_index_is_answered_from_rows_that_hold_it() -> None:
    asked: list[int] = []

    async def wait(index: LogIndex, *, timeout_ms: int) -> None:
        asked.append(index)
        if index > 5:
            raise DeadlineExceededError(f"this node's rows are at entry 5, not yet at {index}")

    app = build_app("test", ROUTES, NOVA)
    app[CLOUD] = replace(cloud_double(), wait_applied=wait)
    async with TestClient(TestServer(app)) as client:
        harness = Harness(client, "")
        status, _, _ = await harness.ask("GET", "/v2.1/public", headers={"X-Fabric-Index": "5"})
        assert (status, asked) == (202, [5])
        status, _, headers = await harness.ask("GET", "/v2.1/public", headers={"X-Fabric-Index": "6"})
        assert status == 503
        assert "Retry-After" in headers
