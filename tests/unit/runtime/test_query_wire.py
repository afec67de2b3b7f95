"""Only what is listed crosses, and it comes out as it went in."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from fabric.core.identity.queries import GetFabric
from fabric.core.images.queries import BlobsInUse
from fabric.core.nodes.queries import GetJoinToken, ListRoleGrants
from fabric.core.queries import Query
from fabric.core.servers.queries import GetAssignments
from fabric.runtime.query_wire import REMOTE, answer_from_plain, query_from_plain, query_to_plain
from proto.codec import Plain, pack, unpack_map
from proto.errors import WireError
from proto.ids import NodeId, TokenId


@pytest.mark.parametrize(
    "query", [GetAssignments(host_id=NodeId("a" * 32), bytes_max=5), ListRoleGrants(), BlobsInUse()]
)
def test_a_query_comes_out_as_it_went_in(query: Query[object]) -> None:
    assert query_from_plain(unpack_map(pack(query_to_plain(query)))) == query


def test_the_list_of_what_may_cross_is_short_on_purpose() -> None:
    """A new name here is a new thing every stolen host may ask."""
    assert set(REMOTE) == {"GetAssignments", "ListRoleGrants", "BlobsInUse"}


@pytest.mark.parametrize("query", [GetFabric(), GetJoinToken(token_id=TokenId("t"))])
def test_secrets_are_not_asked_for_over_the_mesh(query: Query[object]) -> None:
    with pytest.raises(WireError, match="unknown_query"):
        query_to_plain(query)
    with pytest.raises(WireError, match="unknown_query"):
        query_from_plain({"query": type(query).__name__, "body": {}})


def test_a_namesake_is_not_the_real_one() -> None:
    @dataclass(frozen=True)
    class BlobsInUse(Query[str]):
        pass

    with pytest.raises(WireError, match="unknown_query"):
        query_to_plain(BlobsInUse())


@pytest.mark.parametrize(
    "plain",
    [
        {},
        {"query": 5},
        {"query": "x" * 100_000},
        {"query": "GetAssignments"},
        {"query": "BlobsInUse", "body": []},
    ],
)
def test_what_is_no_query_is_refused_in_few_words(plain: dict[str, Plain]) -> None:
    with pytest.raises(WireError) as caught:
        query_from_plain(plain)
    assert len(str(caught.value)) < 200


@pytest.mark.parametrize("answer", [None, 5, {"a": 1}, ["sha", 5]])
def test_an_answer_of_another_shape_is_refused(answer: Plain) -> None:
    assert answer_from_plain(BlobsInUse(), ["sha"]) == ("sha",)
    with pytest.raises(WireError, match="bad_field"):
        answer_from_plain(BlobsInUse(), answer)
