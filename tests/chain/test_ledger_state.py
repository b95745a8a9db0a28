"""The authenticated state, against a plain dict and a root computed from scratch."""

import hashlib
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from bdn.chain import LedgerState, MerkleError, verify_state
from bdn.chain.state import EMPTY, NodeFile, Overlay, key_hash

CONTRACTS = st.sampled_from(("learning", "mining", "ledger"))
KEYS = st.binary(max_size=2)
SLOTS = st.tuples(CONTRACTS, KEYS)
CONTENTS = st.dictionaries(SLOTS, st.binary(max_size=8), max_size=24)


def reference_root(contents: dict[tuple[str, bytes], bytes]) -> bytes:
    """The tree's three rules, applied to all entries at once (the oracle)."""

    def root(entries: list[tuple[int, bytes, bytes]], bit: int) -> bytes:
        if not entries:
            return bytes(32)
        if len(entries) == 1:
            _, position, value = entries[0]
            content = hashlib.sha256(value).digest()
            return hashlib.sha256(b"\x00" + position + content).digest()
        left = [entry for entry in entries if not entry[0] >> bit & 1]
        right = [entry for entry in entries if entry[0] >> bit & 1]
        return hashlib.sha256(b"\x01" + root(left, bit - 1) + root(right, bit - 1)).digest()

    entries = []
    for (contract, key), value in contents.items():
        position = key_hash(contract, key)
        entries.append((int.from_bytes(position, "big"), position, value))
    return root(entries, 255)


class StateAgainstDict(RuleBasedStateMachine):
    """Whatever is written and deleted, the state is the dict, and its root the reference's."""

    def __init__(self) -> None:
        super().__init__()
        self.state = LedgerState()
        self.model: dict[tuple[str, bytes], bytes] = {}
        self.past: list[tuple[LedgerState, dict[tuple[str, bytes], bytes]]] = []

    @rule(writes=st.dictionaries(SLOTS, st.none() | st.binary(max_size=8), max_size=6))
    def write(self, writes: dict[tuple[str, bytes], bytes | None]) -> None:
        """A block's writes."""
        self.past.append((self.state, dict(self.model)))
        self.state = self.state.apply(writes)
        for slot, value in writes.items():
            if value is None:
                self.model.pop(slot, None)
            else:
                self.model[slot] = value

    @rule(slot=SLOTS)
    def prove(self, slot: tuple[str, bytes]) -> None:
        """Presence and absence are proven, and nothing else is."""
        proof = self.state.prove(*slot)
        assert proof.value == self.model.get(slot)
        verify_state(proof, self.state.root)
        for lie in (None, b"lie", b""):
            if lie != proof.value:
                with pytest.raises(MerkleError):
                    verify_state(replace(proof, value=lie), self.state.root)

    @invariant()
    def same_contents(self) -> None:
        """Every read and the root agree with the model."""
        assert dict(self.state.items()) == self.model
        assert self.state.root == reference_root(self.model)

    @invariant()
    def past_states_stand(self) -> None:
        """A state is immutable: trying a block on it leaves it as it was."""
        for state, model in self.past[-3:]:
            assert dict(state.items()) == model


TestStateAgainstDict = StateAgainstDict.TestCase


@given(st.lists(st.dictionaries(SLOTS, st.none() | st.binary(max_size=8), max_size=6)),
       st.integers(0, 5))
@example([{("learning", b""): b""}, {("learning", b""): None}], 0)
def test_a_spilled_state_is_the_same_state(
    blocks: list[dict[tuple[str, bytes], bytes | None]], kept: int
) -> None:
    """STYLE 14: the state in a file agrees with the plain one, and its file holds no garbage."""
    plain, spilled, nodes = LedgerState(), LedgerState(), NodeFile(kept)
    for writes in blocks:
        plain, spilled = plain.apply(writes), nodes.spill(spilled.apply(writes))
        assert spilled.root == plain.root
        assert list(spilled.items()) == list(plain.items())
        for slot in writes:
            assert spilled.prove(*slot) == plain.prove(*slot)
        fresh = NodeFile(kept)
        fresh.spill(plain)
        assert nodes.count() == fresh.count()
        fresh.close()
    nodes.close()


@given(CONTENTS, st.randoms(use_true_random=False))
def test_the_root_depends_on_contents_only(
    contents: dict[tuple[str, bytes], bytes], shuffled: Any
) -> None:
    """Two nodes that reached a state on different ways have one root."""
    slots = list(contents)
    shuffled.shuffle(slots)
    one = LedgerState().apply(contents)
    other = LedgerState().apply({("mining", b"passing"): b"x"})
    for slot in slots:
        other = other.apply({slot: b"first"}).apply({slot: contents[slot]})
    if ("mining", b"passing") not in contents:
        other = other.apply({("mining", b"passing"): None})
    assert one.root == other.root


@given(CONTENTS, SLOTS, st.data())
def test_altered_state_proofs_are_refused(
    contents: dict[tuple[str, bytes], bytes], slot: tuple[str, bytes], data: st.DataObject
) -> None:
    """Any one change to a proof's hashes, slot or root is refused."""
    state = LedgerState().apply(contents)
    proof = state.prove(*slot)
    verify_state(proof, state.root)
    bit = data.draw(st.integers(0, 255))

    def flipped(part: bytes) -> bytes:
        return (int.from_bytes(part, "big") ^ 1 << bit).to_bytes(32, "big")

    altered = [(proof, flipped(state.root))]
    for level in range(len(proof.siblings)):
        siblings = list(proof.siblings)
        siblings[level] = flipped(siblings[level])
        altered.append((replace(proof, siblings=tuple(siblings)), state.root))
    if proof.other is not None:
        altered.append((replace(proof, other=(flipped(proof.other[0]), proof.other[1])),
                        state.root))
        altered.append((replace(proof, other=(proof.other[0], flipped(proof.other[1]))),
                        state.root))
    if proof.value is not None:
        altered.append((replace(proof, key=proof.key + b"!"), state.root))
        altered.append((replace(proof, contract="another"), state.root))
    altered.append((replace(proof, siblings=(*proof.siblings, EMPTY)), state.root))
    altered.append((replace(proof, siblings=(*proof.siblings, b"short")), state.root))
    altered.append((replace(proof, siblings=proof.siblings + (EMPTY,) * 257), state.root))
    for wrong, root in altered:
        with pytest.raises(MerkleError):
            verify_state(wrong, root)


def test_absence_is_not_shown_by_an_entry_of_another_subtree() -> None:
    """The other entry must lie where the missing one would."""
    state = LedgerState().apply({("learning", bytes([i])): b"value" for i in range(32)})
    for i in range(32):
        held = state.prove("learning", bytes([i]))
        missing = state.prove("learning", b"missing %d" % i)
        content = hashlib.sha256(b"value").digest()
        position = key_hash("learning", bytes([i]))
        if missing.other is None or missing.other[0] != position:
            with pytest.raises(MerkleError):
                verify_state(replace(missing, other=(position, content),
                                     siblings=held.siblings), state.root)
        with pytest.raises(MerkleError):
            verify_state(replace(held, value=None, other=(position, content)), state.root)


def test_writes_cost_a_logarithm() -> None:
    """O(log n) per write: a proof among 4,096 entries has about 12 siblings."""
    state = LedgerState().apply({("learning", i.to_bytes(2, "big")): b"x" for i in range(4096)})
    depths = [len(state.prove("learning", i.to_bytes(2, "big")).siblings) for i in range(4096)]
    assert sum(depths) / len(depths) < 15
    assert max(depths) < 32


def test_overlays_keep_writes_apart_until_merged() -> None:
    """Executing on trial changes nothing; only true changes are written."""
    state = LedgerState().apply({("learning", b"a"): b"1", ("learning", b"b"): b"2"})
    block = Overlay(state)
    trial = Overlay(block)
    trial.put("learning", b"a", b"3")
    trial.put("learning", b"b", None)
    assert trial.get("learning", b"a") == b"3"
    assert block.get("learning", b"a") == b"1"
    assert block.writes() == {}
    trial.merge()
    assert block.writes() == {("learning", b"a"): b"3", ("learning", b"b"): None}
    block.put("learning", b"a", b"1")
    block.put("learning", b"c", None)
    assert block.writes() == {("learning", b"b"): None}
    assert state.get("learning", b"b") == b"2"
