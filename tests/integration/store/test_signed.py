"""With a key, whatever the store puts on Redis is signed: calls, fires, runs by hand, backfills, further attempts, results."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from scheduler.config import Config
from scheduler.errors import SignatureError
from scheduler.model import Overlap
from scheduler.seal import is_signed
from scheduler.store import open_store
from scheduler.wire import decode_header
from tests.support.bench import HOUR_MS, Bench

pytestmark = pytest.mark.redis


@pytest.fixture
def signing(config: Config, tmp_path: Path) -> Iterator[Bench]:
    """A bench whose store has a key."""
    key = tmp_path / "key"
    key.write_text("0123456789abcdef0123456789abcdef\n")
    key.chmod(0o600)
    store = open_store(msgspec.structs.replace(config, signing_key_file=str(key)), role="test")
    yield Bench(store)
    store.close()


def bodies(bench: Bench) -> dict[str, bytes]:
    """Every message that lives."""
    flat = bench.call_redis("HGETALL", bench.keys.messages)
    return {id_.decode(): body for id_, body in zip(flat[::2], flat[1::2], strict=True)}


def check(bench: Bench) -> int:
    """That each message is signed as what it is; how many there are."""
    seal = bench.store.seal
    assert seal is not None
    found = bodies(bench)
    for id_, body in found.items():
        seal.check_message(id_, body, decode_header(body)[1])
    return len(found)


def test_every_way_onto_redis_signs(signing: Bench) -> None:
    """One that did not would be a fire that no worker runs."""
    bench = signing
    for overlap in Overlap:
        bench.put(f"e{overlap}", overlap=overlap)
    term = bench.win()
    for overlap in Overlap:
        bench.fired(term, f"e{overlap}", in_ms=HOUR_MS)
    bench.calls(3)
    bench.call(in_ms=HOUR_MS)
    message = bench.message(entry="e1", overlap=Overlap.SKIP)
    assert bench.store.queues.trigger(message, entry="e1", force=True, call_id="t").ok
    bench.backfill(2, name="e1", in_ms=HOUR_MS)
    assert check(bench) == len(Overlap) + 3 + 1 + 1 + 2


def test_what_scripts_do_to_a_message_leaves_its_signature_whole(signing: Bench) -> None:
    """Promotion, release, another attempt, the slot of a forced run: they change bytes of the header."""
    bench = signing
    bench.put("e1", overlap=Overlap.SKIP)
    term, session = bench.win(), bench.open()
    bench.fired(term, "e1", in_ms=-1_000)
    bench.promote()
    forced = bench.message(entry="e1", overlap=Overlap.SKIP)
    assert bench.store.queues.trigger(forced, entry="e1", force=True, call_id="t").ok
    taken = bench.take(session, 10)
    assert len(taken) == check(bench) == 2
    for id_ in taken:
        body = bench.store.queues.body(id_)
        assert body
        assert session.retry(id_, body, delay_ms=-1, attempt=2, result=b'{"state":"RETRY"}', ttl_ms=60_000)
    assert check(bench) == 2
    record = bench.store.results.get(taken[0])
    assert record is not None
    assert record.state == "RETRY"


def test_results_are_signed_and_read_as_such(signing: Bench, config: Config) -> None:
    """Who has the key refuses another's; who has none reads on."""
    bench = signing
    session, ids = bench.open(), bench.calls(2)
    bench.take(session, 2)
    bench.store.results.put_state(ids[1], "PROGRESS", b"1", 60_000, session=session.id)
    bench.finish(session, ids[0])
    results = bench.store.results
    assert [record and record.state for record in results.get_many(ids)] == ["SUCCESS", "PROGRESS"]
    stranger = open_store(config, role="test")
    assert stranger.results.state(ids[0]) == "SUCCESS"
    stranger.results.put_state(ids[1], "FORGED", b"1", 60_000)
    with pytest.raises(SignatureError, match="is not signed"):
        results.state(ids[1])
    bench.store.queues.cancel(bench.call(id_="waits"))
    assert results.state("waits") == "REVOKED", "what scripts say needs no key"
    stranger.queues.enqueue([bench.message(id_="unsigned")], call_id="x")
    assert not is_signed(bodies(bench)["unsigned"])
    stranger.close()
