"""The digest: equal knowledge hashes equally, whatever the order it came in, and differences are found."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from fabric.core.membership.digest import BucketDigest, bucket_of, hash_of
from proto.ids import NodeId
from proto.membership import BUCKETS, ROOT_BYTES, Version

IDS = st.binary(min_size=16, max_size=16).map(lambda data: NodeId(data.hex()))
NUMBERS = st.integers(0, 1 << 40)
VERSIONS = st.builds(
    Version, node_id=IDS, epoch=NUMBERS, incarnation=NUMBERS, version=NUMBERS, load=NUMBERS, verdict=NUMBERS
)
TABLES = st.lists(VERSIONS, max_size=30, unique_by=lambda version: version.node_id)


def digest_of(versions: list[Version]) -> BucketDigest:
    digest = BucketDigest()
    for version in versions:
        digest.toggle(version.node_id, hash_of(version))
    return digest


@given(TABLES)
def test_order_does_not_matter(versions: list[Version]) -> None:
    shuffled = sorted(versions, key=lambda version: version.node_id)
    one, other = digest_of(versions), digest_of(shuffled)
    assert one.root == other.root
    assert one.roots() == other.roots()
    assert not one.differing(other.roots())
    assert (len(one.root), len(one.roots())) == (ROOT_BYTES, BUCKETS * ROOT_BYTES)


@given(TABLES, VERSIONS)
def test_one_more_node_differs_in_its_bucket_and_is_undone_by_itself(
    versions: list[Version], more: Version
) -> None:
    known = [version for version in versions if version.node_id != more.node_id]
    digest = digest_of(known)
    before = digest.root, digest.roots()
    digest.toggle(more.node_id, hash_of(more))
    assert digest.root != before[0]
    assert digest.differing(before[1]) == [bucket_of(more.node_id)]
    digest.toggle(more.node_id, hash_of(more))
    assert (digest.root, digest.roots()) == before


@given(VERSIONS, st.sampled_from(["epoch", "incarnation", "version", "load", "verdict"]))
def test_every_number_counts(version: Version, name: str) -> None:
    numbers = {
        field: getattr(version, field) for field in ("epoch", "incarnation", "version", "load", "verdict")
    }
    numbers[name] += 1
    assert hash_of(Version(node_id=version.node_id, **numbers)) != hash_of(version)
