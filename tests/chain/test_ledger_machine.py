"""The whole ledger against a model: whatever is proposed, sealed, refused and reopened.

The model is a page of Python: balances, notes and nonces. It knows nothing of trees, encodings or
contracts.
"""

import tempfile
import tracemalloc
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from bdn.chain import (
    BlockError,
    CallTransaction,
    Ledger,
    LightClient,
    Store,
    header_digest,
    sign_transaction,
    verify_ledger,
)

DEVICES = 3
MAKERS: list[Callable[..., Any]] = []
WHO = st.integers(0, DEVICES - 1)
ACTIONS = st.one_of(
    st.tuples(st.just("transfer"), WHO, WHO, st.integers(-2, 150)),
    st.tuples(st.just("note"), WHO, st.sampled_from("ab"), st.binary(max_size=4)),
    st.tuples(st.just("erase"), WHO, st.sampled_from("ab"), st.none()),
    st.tuples(st.just("nonsense"), WHO, st.none(), st.none()),
)


class LedgerAgainstModel(RuleBasedStateMachine):
    """Blocks of random transactions, with forgeries, refusals, restarts and a light client."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.path = Path(self.folder.name) / "ledger.sqlite"
        self.chain = MAKERS[0](self.path, devices=DEVICES)
        genesis = self.chain.ledger.head
        self.light = LightClient(self.chain.genesis, genesis, header_digest(genesis))
        self.balances = dict.fromkeys(range(DEVICES), 100)
        self.notes: dict[str, bytes] = {}
        self.nonces = dict.fromkeys(range(DEVICES), 1)

    def envelope(self, action: tuple[Any, ...], nonce: int) -> Any:
        """The signed transaction of an action."""
        kind, who, what, value = action
        device = self.chain.devices[who]
        arguments: tuple[Any, ...] = {
            "transfer": lambda: (self.chain.devices[what].address, value),
            "note": lambda: (what, value), "erase": lambda: (what,), "nonsense": tuple,
        }[kind]()
        call = CallTransaction("learning", kind, arguments)
        return sign_transaction(device, self.chain.ledger.chain, nonce, 100_000, call)

    def expect(self, action: tuple[Any, ...]) -> bool:
        """Apply an action to the model; whether it should succeed."""
        kind, who, what, value = action
        if kind == "transfer" and 0 <= value <= self.balances[who]:
            self.balances[who] -= value
            self.balances[what] += value
            return True
        if kind == "note":
            self.notes[what] = value
            return True
        return kind == "erase" and self.notes.pop(what, None) is not None

    @rule(actions=st.lists(ACTIONS, max_size=5), edge=st.integers(0, 3),
          view=st.integers(0, 3), signers=st.permutations(range(4)))
    def block(self, actions: list[tuple[Any, ...]], edge: int, view: int,
              signers: list[int]) -> None:
        """A block of transactions that may fail, sealed by any three edges in any view."""
        envelopes = []
        for action in actions:
            nonce = self.nonces[action[1]]
            self.nonces[action[1]] = nonce + 1
            envelopes.append(self.envelope(action, nonce))
        candidate = self.chain.propose(envelopes, edge=edge)
        seal = self.chain.seal(candidate.block, sorted(signers[:3]), view)
        self.chain.ledger.commit(candidate.block, seal)
        self.light.accept(candidate.block.header, seal, candidate.block.header.time)
        outcomes = [self.expect(action) for action in actions]
        assert [receipt.ok for receipt in candidate.receipts] == outcomes
        height = self.chain.ledger.height
        for position, ok in enumerate(outcomes):
            proof = self.chain.ledger.proof(height, position)
            assert self.light.verify_transaction(proof)[1].ok == ok

    @rule(action=ACTIONS, shift=st.sampled_from((-1, 1, 5)))
    def wrong_nonce(self, action: tuple[Any, ...], shift: int) -> None:
        """A replay or a gap makes no block."""
        envelope = self.envelope(action, self.nonces[action[1]] + shift)
        with pytest.raises(BlockError, match="nonce"):
            self.chain.propose([envelope])

    @rule(action=ACTIONS, byte=st.integers(0, 63))
    def forgery(self, action: tuple[Any, ...], byte: int) -> None:
        """A changed signature makes no block."""
        envelope = self.envelope(action, self.nonces[action[1]])
        signature = bytearray(envelope.signature)
        signature[byte] ^= 1
        with pytest.raises(BlockError, match="signature"):
            self.chain.propose([replace(envelope, signature=bytes(signature))])

    @rule(actions=st.lists(ACTIONS, max_size=2))
    def proposal_that_nobody_seals(self, actions: list[tuple[Any, ...]]) -> None:
        """Trying leaves no trace, which the invariants see."""
        nonces = dict(self.nonces)
        envelopes = []
        for action in actions:
            envelopes.append(self.envelope(action, nonces[action[1]]))
            nonces[action[1]] += 1
        self.chain.ledger.check(self.chain.propose(envelopes).block)

    @precondition(lambda self: self.chain.ledger.height > 0)
    @rule()
    def restart(self) -> None:
        """The node stops and opens its store again."""
        self.chain.ledger.close()
        self.chain.ledger = Ledger.open(self.path)

    @invariant()
    def the_model_holds(self) -> None:
        """Balances, notes, nonces and the supply are the model's."""
        ledger = self.chain.ledger
        for i, device in enumerate(self.chain.devices):
            assert ledger.call("learning", "balance_of", device.address) == self.balances[i]
            assert ledger.next_nonce(device.address) == self.nonces[i]
        for name in "ab":
            assert ledger.call("learning", "note_of", name) == self.notes.get(name, b"")
        assert sum(self.balances.values()) == 100 * DEVICES
        assert self.light.head == ledger.head
        assert ledger.store.height() == ledger.height

    def teardown(self) -> None:
        """In the end everything verifies from genesis."""
        self.chain.ledger.close()
        with Store.open(self.path, read_only=True) as store:
            verify_ledger(store, trusted=header_digest(store.header(0)))
        self.folder.cleanup()


class TestLedgerAgainstModel(LedgerAgainstModel.TestCase):
    """The machine as a test, a dozen steps at a time.

    Hypothesis makes it, so the fixture's maker is handed over here.
    """

    settings = settings(stateful_step_count=12)

    @pytest.fixture(autouse=True)
    def _maker(self, make_chain: Callable[..., Any]) -> None:
        MAKERS[:] = [make_chain]


def test_verifying_takes_memory_independent_of_the_length(
    make_chain: Callable[..., Any], tmp_path: Path
) -> None:
    """`bdn verify` streams; four times the blocks and state entries, the same peak."""
    peaks = []
    for blocks in (12, 48):
        path = tmp_path / f"{blocks}.sqlite"
        chain = make_chain(path)
        for i in range(blocks):
            root = bytes([i]) * 8_000
            chain.add([chain.note(0, "a", bytes([i]) * 500), chain.update(1, i, 1, [root])],
                      epoch=i)
        chain.ledger.close()
        with Store.open(path, read_only=True) as store:
            verify_ledger(store, kept=20)  # what is loaded once is loaded now
            tracemalloc.start()
            verify_ledger(store, kept=20)
            peaks.append(tracemalloc.get_traced_memory()[1])
            tracemalloc.stop()
    assert peaks[1] < 1.3 * peaks[0]
