import hashlib
import json

import pytest

from gateway.compile.envoy_api import make
from gateway.relay.messages import item_of, parse_answer, parse_ask, serialise_answer, serialise_ask
from gateway.relay.session import Answer, Ask
from gateway.relay.shelf import Shelf


CDS = "type.googleapis.com/envoy.config.cluster.v3.Cluster"
LDS = "type.googleapis.com/envoy.config.listener.v3.Listener"


def cluster(name: str, version: str = "1"):
    return item_of(name, version, make("envoy.config.cluster.v3.Cluster", name=name))


async def filled(folder, *generations: str) -> Shelf:
    """A shelf after a generation for each given version of the cluster `a`."""
    shelf = Shelf(folder)
    shelf.load()
    for version in generations:
        shelf.keep(CDS, [cluster("a", version)], [])
        await shelf.save()
    return shelf


def loaded(folder) -> dict[str, dict[str, str]]:
    shelf = Shelf(folder)
    shelf.load()
    return {
        url: {item.name: item.version for item in table.values()}
        for url, table in shelf.tables.items()
    }


async def test_what_was_saved_is_found_again(tmp_path):
    shelf = await filled(tmp_path, "1")
    shelf.keep(LDS, [cluster("l")], [])
    shelf.keep(CDS, [cluster("b", "7")], ["a"])
    await shelf.save()

    assert loaded(tmp_path) == {CDS: {"b": "7"}, LDS: {"l": "1"}}
    again = Shelf(tmp_path)
    again.load()
    assert again.tables[CDS]["b"].body == shelf.tables[CDS]["b"].body


async def test_the_folder_is_its_owners_alone(tmp_path):
    await filled(tmp_path / "shelf", "1")

    assert (tmp_path / "shelf").stat().st_mode & 0o777 == 0o700
    for path in (tmp_path / "shelf").rglob("*"):
        assert path.stat().st_mode & 0o077 == 0


async def test_an_empty_folder_is_an_empty_shelf(tmp_path):
    assert loaded(tmp_path / "none") == {}


@pytest.mark.parametrize("damage", ["flip", "truncate", "empty", "delete"])
@pytest.mark.parametrize("part", ["manifest", "pack"])
async def test_a_damaged_generation_is_noticed_and_the_one_before_it_taken(tmp_path, damage, part):
    await filled(tmp_path, "1")
    packs = set((tmp_path / "packs").iterdir())
    await filled(tmp_path, "2")
    (path,) = set((tmp_path / "packs").iterdir()) - packs
    if part == "manifest":
        path = tmp_path / "manifest-2"
    data = bytearray(path.read_bytes())
    if damage == "delete":
        path.unlink()
    else:
        data[len(data) // 2] ^= 1
        kept = {"flip": len(data), "truncate": len(data) // 2, "empty": 0}[damage]
        path.write_bytes(bytes(data[:kept]))

    assert loaded(tmp_path) == {CDS: {"a": "1"}}


async def test_saving_goes_on_after_damage(tmp_path):
    await filled(tmp_path, "1", "2")
    (tmp_path / "manifest-2").write_bytes(b"\x00\xff")

    await filled(tmp_path, "3")

    assert loaded(tmp_path) == {CDS: {"a": "3"}}


async def test_generations_and_packs_are_bounded(tmp_path):
    await filled(tmp_path, *(str(n) for n in range(1, 11)))

    manifests = sorted(path.name for path in tmp_path.glob("manifest-*"))
    assert manifests == ["manifest-10", "manifest-8", "manifest-9"]
    assert len(list((tmp_path / "packs").iterdir())) == 3


async def test_saving_nothing_new_writes_nothing(tmp_path):
    shelf = await filled(tmp_path, "1")
    shelf.keep(CDS, [cluster("a", "1")], ["unknown"])
    await shelf.save()

    assert [path.name for path in tmp_path.glob("manifest-*")] == ["manifest-1"]


async def test_keeping_only_some_drops_the_others(tmp_path):
    shelf = await filled(tmp_path, "1")
    shelf.keep(CDS, [cluster("b"), cluster("c")], [])
    shelf.keep_only(CDS, frozenset({"b", "unknown"}))
    await shelf.save()

    assert loaded(tmp_path) == {CDS: {"b": "1"}}


async def test_a_change_writes_a_small_share_of_a_type_anew(tmp_path):
    shelf = await filled(tmp_path)
    shelf.keep(CDS, [cluster(f"c{number}") for number in range(500)], [])
    await shelf.save()
    before = set((tmp_path / "packs").iterdir())
    shelf.keep(CDS, [cluster("c7", "2")], [])
    await shelf.save()

    (written,) = set((tmp_path / "packs").iterdir()) - before
    assert written.stat().st_size < sum(path.stat().st_size for path in before) / 5
    assert loaded(tmp_path) == {CDS: {f"c{n}": "2" if n == 7 else "1" for n in range(500)}}


async def test_what_was_saved_before_types_were_divided_is_found(tmp_path):
    shelf = await filled(tmp_path, "1")
    manifest = tmp_path / "manifest-1"
    (digest,) = json.loads(manifest.read_text().splitlines()[0])["packs"].values()
    body = json.dumps({"packs": {CDS: digest}})
    manifest.write_text(f"{body}\n{hashlib.sha256(body.encode()).hexdigest()}\n")

    assert loaded(tmp_path) == {CDS: {"a": "1"}}
    shelf = Shelf(tmp_path)
    shelf.load()
    shelf.keep(CDS, [cluster("b")], [])
    await shelf.save()
    assert loaded(tmp_path) == {CDS: {"a": "1", "b": "1"}}


async def test_a_failing_disk_loses_no_change(tmp_path, monkeypatch):
    shelf = await filled(tmp_path, "1")
    shelf.keep(CDS, [cluster("a", "2")], [])
    with monkeypatch.context() as patch:
        patch.setattr("gateway.relay.shelf.replace_private", _no_space)
        with pytest.raises(OSError, match="no space"):
            await shelf.save()
    assert loaded(tmp_path) == {CDS: {"a": "1"}}

    await shelf.save()

    assert loaded(tmp_path) == {CDS: {"a": "2"}}


def _no_space(*_):
    raise OSError("no space")


def test_a_request_goes_through_unchanged():
    ask = Ask(
        type_url=CDS,
        subscribe=("a", "*"),
        unsubscribe=("b",),
        held={"c": "1"},
        nonce="7",
        error=make("google.rpc.Status", code=3, message="bad").SerializeToString(),
    )
    node = make("envoy.config.core.v3.Node", id="edge").SerializeToString()

    assert parse_ask(serialise_ask(ask, node)) == (ask, node)


def test_an_error_without_words_is_still_an_error():
    request = make("envoy.service.discovery.v3.DeltaDiscoveryRequest", error_detail={})

    ask, _ = parse_ask(request.SerializeToString())

    assert ask.error


def test_a_response_goes_through_with_all_that_stands_in_its_resources():
    resource = make(
        "envoy.service.discovery.v3.Resource",
        name="a",
        version="1",
        aliases=["x"],
        resource={"type_url": CDS, "value": b"\x0a\x01a"},
    )
    response = make(
        "envoy.service.discovery.v3.DeltaDiscoveryResponse",
        type_url=CDS,
        nonce="7",
        system_version_info="v",
        resources=[resource],
        removed_resources=["b"],
    )

    answer = parse_answer(response.SerializeToString())

    assert (answer.nonce, answer.version, answer.removed) == ("7", "v", ("b",))
    assert serialise_answer(answer) == response.SerializeToString()
    assert isinstance(answer, Answer)
