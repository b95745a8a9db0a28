"""Catching up by sealed blocks, and proof of work."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bdn.chain import (
    BlockError,
    MissingBlobsError,
    SealedBlock,
    WorkError,
    apply_sealed_block,
    attempts,
    blobs_named,
    blocks_after,
    build_genesis,
    decode_sealed,
    encode_seal,
    encode_sealed,
    expected_difficulty,
    header_digest,
    mine,
    next_difficulty,
    seal_block,
    verify_ledger,
)
from bdn.chain.seals import (
    MIN_DIFFICULTY,
    ProofOfWork,
    first_difficulty,
    target_interval,
    verify_work,
    work_of,
)
from bdn.errors import EncodingError
from bdn.seal import SealError


@pytest.mark.parametrize("consensus", ["pbft", "pow"])
def test_a_full_node_catches_up(make_chain: Callable[..., Any], consensus: str) -> None:
    """From another's sealed blocks and blobs it reaches the same state."""
    ahead, behind = (make_chain(consensus=consensus) for _ in range(2))
    ahead.add([ahead.transfer(0, b"bob", 3)])
    ahead.add_epoch(1)
    ahead.add([ahead.note(1, "a", b"text")], epoch=1)
    while True:
        batch = blocks_after(ahead.ledger.store, behind.ledger.height, limit=2)
        if not batch:
            break
        for sealed in batch:
            again = decode_sealed(encode_sealed(sealed))
            blobs = [ahead.ledger.blob(root) for root in blobs_named(again)]
            apply_sealed_block(behind.ledger, again, blobs)
    assert behind.ledger.head == ahead.ledger.head
    assert behind.ledger.state.root == ahead.ledger.state.root
    verify_ledger(behind.ledger.store)
    assert apply_sealed_block(behind.ledger, sealed_of(ahead, 1)) is None


def sealed_of(chain: Any, height: int) -> SealedBlock:
    """One sealed block of a chain."""
    (sealed,) = blocks_after(chain.ledger.store, height - 1, limit=1)
    return sealed


def test_a_lying_helper_gets_nowhere(make_chain: Callable[..., Any]) -> None:
    """Sealed blocks are executed and checked, whoever sends them."""
    ahead, behind = make_chain(), make_chain()
    ahead.add_epoch(1)
    ahead.add([], epoch=1)
    good, later = sealed_of(ahead, 1), sealed_of(ahead, 2)
    blobs = [ahead.ledger.blob(root) for root in blobs_named(good)]
    weak = ahead.sign_seal(header_digest(ahead.ledger.store.header(1)), 1, signers=(0, 1))
    for sealed, error in (
        (later, BlockError), (replace(good, seal=encode_seal(weak)), SealError),
        (replace(good, seal=later.seal), SealError), (replace(good, block=later.block), SealError),
        (replace(good, block=good.block[:-1]), EncodingError),
        (replace(good, seal=b""), EncodingError),
    ):
        with pytest.raises(error):
            apply_sealed_block(behind.ledger, sealed, blobs)
        assert behind.ledger.height == 0
    fresh = make_chain()
    with pytest.raises(MissingBlobsError):
        apply_sealed_block(fresh.ledger, good, blobs[:-1])
    apply_sealed_block(fresh.ledger, good, blobs)
    other = make_chain()
    other.add([other.transfer(0, b"bob", 3)])
    with pytest.raises(BlockError, match="differs from the one"):
        apply_sealed_block(other.ledger, good, blobs)


def test_blobs_that_nobody_asked_for_are_not_stored(make_chain: Callable[..., Any]) -> None:
    """A helper cannot fill the disk with blobs that no sealed block names."""
    ahead, behind = make_chain(), make_chain()
    ahead.add([])
    apply_sealed_block(behind.ledger, sealed_of(ahead, 1), [b"\x81\x41a", b"junk"])
    assert behind.ledger.store.counts()["blobs"] == 0
    candidate = ahead.propose([ahead.update(0, 0, 1, [b"x"])])
    blob = ahead.ledger.blob(candidate.block.transactions[0].payload.root)
    unsealed = seal_block(candidate.block, ahead.sign_seal(candidate.block.digest, 2, signers=(0,)))
    with pytest.raises(SealError):
        apply_sealed_block(behind.ledger, unsealed, [blob])
    assert behind.ledger.store.counts()["blobs"] == 0


# --- proof of work ------------------------------------------------------------------------------


def test_a_proof_of_work_is_checked_in_every_part(make_chain: Callable[..., Any]) -> None:
    """Difficulty as the chain asks, the hash as stated, below its bound."""
    chain = make_chain(consensus="pow")
    block = chain.propose([chain.transfer(0, b"bob", 1)]).block
    seal = chain.seal(block)
    assert isinstance(seal, ProofOfWork)
    verify_work(seal, 64)
    bad_nonce = next(n for n in range(10**6)
                     if int.from_bytes(work_of(block.digest, 64, n), "big") * 64 >= 1 << 256)
    for wrong, error in (
        (replace(seal, difficulty=63), WorkError),
        (replace(seal, nonce=seal.nonce + 1), WorkError),
        (replace(seal, work=bytes(32)), WorkError),
        (replace(seal, digest=bytes(32)), SealError),
        (replace(seal, nonce=bad_nonce, work=work_of(block.digest, 64, bad_nonce)), WorkError),
        (mine(block.header, 16), WorkError),
        (chain.sign_seal(block.digest, 1), SealError),
    ):
        with pytest.raises(error):
            chain.ledger.commit(block, wrong)
    for change in ({"nonce": -1}, {"nonce": 1 << 64}, {"difficulty": 0}, {"difficulty": 1 << 256}):
        with pytest.raises(ValueError, match="out of range"):
            replace(seal, **change)
    chain.ledger.commit(block, seal)


def test_mining_gives_control_back(make_chain: Callable[..., Any]) -> None:
    """A miner must be able to stop when another's block arrives."""
    chain = make_chain(consensus="pow")
    work = attempts(chain.ledger.head, 1 << 60)
    assert next(work) is None
    assert next(work) is None


def test_difficulty_settles_at_the_rate() -> None:
    """Difficulty from β: with a miner of fixed speed blocks come at the rate β."""
    rate = 3_600_000  # one block a second
    speed, difficulty = 5_000, 64  # hashes a millisecond
    target = target_interval(rate)
    assert target == 1_000
    for _ in range(400):
        difficulty = next_difficulty(difficulty, difficulty // speed, rate)
    assert abs(difficulty / speed - target) < target // 20


@given(st.integers(MIN_DIFFICULTY, 1 << 60), st.integers(0, 1 << 40), st.integers(1, 1 << 40))
def test_difficulty_moves_in_bounded_steps(difficulty: int, interval: int, rate: int) -> None:
    """Up by at most an eighth, down by at most three eighths, in the right direction."""
    after = next_difficulty(difficulty, interval, rate)
    assert after <= difficulty + difficulty // 8
    assert after >= max(MIN_DIFFICULTY, difficulty - -(-3 * difficulty // 8))
    if interval < target_interval(rate):
        assert after >= difficulty
    if interval > target_interval(rate):
        assert after <= difficulty


def test_first_difficulty_is_a_setting(make_chain: Callable[..., Any]) -> None:
    """Genesis fixes where the difficulty starts."""
    genesis = make_chain(consensus="pow").genesis
    assert first_difficulty(genesis) == 64
    assert first_difficulty(replace(genesis, settings={})) == MIN_DIFFICULTY
    for wrong in (0, 3, "many", True):
        unusable = replace(genesis, settings={"difficulty": wrong})
        with pytest.raises(BlockError, match="difficulty"):
            first_difficulty(unusable)
        with pytest.raises(BlockError, match="difficulty"):
            build_genesis(unusable, make_chain(consensus="pow").edges[0])


def test_a_full_node_goes_over_to_the_longer_chain(make_chain: Callable[..., Any]) -> None:
    """Blocks are rolled back, and the result verifies."""
    one, two = (make_chain(consensus="pow") for _ in range(2))
    one.add([one.transfer(0, b"bob", 1)])
    for amount in (3, 4):
        two.add([two.transfer(1, b"bob", amount)])
    one.ledger.rollback(0)
    for sealed in blocks_after(two.ledger.store, 0):
        apply_sealed_block(one.ledger, sealed)
    assert one.ledger.state.root == two.ledger.state.root
    assert one.ledger.call("learning", "balance_of", b"bob") == 7
    verify_ledger(one.ledger.store)


def test_expected_difficulty_follows_from_headers(make_chain: Callable[..., Any]) -> None:
    """A light node can tell which difficulty is due, and a block's own time cannot change it."""
    chain = make_chain(consensus="pow")
    assert chain.ledger.next_difficulty() == 64
    chain.add()
    store = chain.ledger.store
    first, second = store.header(0), store.header(1)
    expected = next_difficulty(64, second.time - first.time, chain.genesis.generation_rate)
    assert chain.ledger.next_difficulty() == expected
    assert expected_difficulty(second, store.seal(1), first, chain.genesis) == expected
    chain.time += 1_000_000  # the miner claims that its block comes late
    late = chain.propose()
    with pytest.raises(WorkError, match="difficulty"):
        chain.ledger.commit(late.block, mine(late.block.header, expected // 2))
    chain.ledger.commit(late.block, mine(late.block.header, expected))
