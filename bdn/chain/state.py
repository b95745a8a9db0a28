"""The ledger's state and the tree that authenticates it.

The state maps (contract, key) to bytes. Its root is that of a binary trie over the 256-bit hashes
of (contract, key), with two rules that keep it small and its shape unique:

    hash(nothing)              = 32 zero bytes
    hash(one entry)            = SHA-256(0x00 ‖ key hash ‖ SHA-256(value)), wherever it lies
    hash(two or more entries)  = SHA-256(0x01 ‖ hash(left half) ‖ hash(right half))

The halves are split by the next bit of the key hash, most significant first. A subtree with a
single entry is that entry, so n entries give a depth of about log2 n, and each write or proof costs
O(log n) hashes. (The form is Diem's "Jellyfish" tree, Gao, Hu, Wu 2021, without its 16-way nodes.)

`State` is immutable: a write returns a new one that shares all untouched nodes with the old. That
makes executing a proposed block on trial cost nothing to undo. `Overlay` collects the writes of a
block or transaction before they are applied at once.

A verifier of a long history does not want to hold its whole state in memory. `NodeFile` keeps the
tree in a temporary file and loads nodes as they are needed.
"""

import hashlib
import sqlite3
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Annotated, NamedTuple, Protocol

from bdn.chain.errors import MerkleError
from bdn.chain.transactions import Name
from bdn.encoding import Digest, at_most, digest

EMPTY = bytes(32)
"""The hash of a subtree without entries."""

BITS = 256

MAX_KEY, MAX_VALUE = 1 << 20, 16 << 20
"""Bytes of a key and of a value in a proof: as much as a contract can store."""

Slot = tuple[str, bytes]
"""(contract name, key): where a value lives."""

Writes = Mapping[Slot, bytes | None]
"""New values by slot; None deletes."""


# --- hashes -------------------------------------------------------------------------------------


def key_hash(contract: str, key: bytes) -> bytes:
    """The 32-byte position of (contract, key) in the tree."""
    return digest("bdn/state-key", contract.encode(), key)


def entry_hash(position: bytes, value_hash: bytes) -> bytes:
    """SHA-256(0x00 ‖ position ‖ SHA-256(value))."""
    return hashlib.sha256(b"\x00" + position + value_hash).digest()


def branch_hash(left: bytes, right: bytes) -> bytes:
    """SHA-256(0x01 ‖ left ‖ right)."""
    return hashlib.sha256(b"\x01" + left + right).digest()


def _bit(position: bytes, depth: int) -> int:
    return position[depth >> 3] >> (7 - (depth & 7)) & 1


# --- nodes --------------------------------------------------------------------------------------


class Entry(NamedTuple):
    """A leaf: one value with its slot and position."""

    hash: bytes
    position: bytes
    slot: Slot
    value: bytes


class Branch:
    """Two halves; its hash is computed when first asked for, so a block hashes each node once."""

    __slots__ = ("_hash", "left", "right")

    def __init__(self, left: "Node", right: "Node", known: bytes | None = None) -> None:
        self.left = left
        self.right = right
        self._hash = known

    @property
    def hash(self) -> bytes:
        """32 bytes."""
        if self._hash is None:
            self._hash = branch_hash(_hash(self.left), _hash(self.right))
        return self._hash


class NodeSource(Protocol):
    """Where nodes lie that are not in memory; see `bdn.chain.state`."""

    def load(self, name: bytes, replaced: bool) -> "Entry | Branch":
        """The node of hash ``name``; ``replaced`` tells that the caller is rewriting it."""


class Stub(NamedTuple):
    """A node that lies elsewhere."""

    hash: bytes
    source: NodeSource


Node = Entry | Branch | Stub | None


def _hash(node: Node) -> bytes:
    return EMPTY if node is None else node.hash


def _loaded(node: Node, replaced: bool) -> Entry | Branch | None:
    return node.source.load(node.hash, replaced) if isinstance(node, Stub) else node


def _insert(node: Node, entry: Entry, depth: int) -> Node:
    """``node`` with ``entry`` put in or replaced."""
    node = _loaded(node, True)
    if node is None or (isinstance(node, Entry) and node.position == entry.position):
        return entry
    if isinstance(node, Entry):  # two entries share this prefix: branch until they part
        if _bit(node.position, depth):
            node = Branch(None, node)
        else:
            node = Branch(node, None)
    if _bit(entry.position, depth):
        return Branch(node.left, _insert(node.right, entry, depth + 1))
    return Branch(_insert(node.left, entry, depth + 1), node.right)


def _delete(node: Node, position: bytes, depth: int) -> Node:
    """``node`` without the entry at ``position``; a lone remaining entry moves up."""
    node = _loaded(node, True)
    if node is None:
        return None
    if isinstance(node, Entry):
        return None if node.position == position else node
    if _bit(position, depth):
        left, right = node.left, _delete(node.right, position, depth + 1)
    else:
        left, right = _delete(node.left, position, depth + 1), node.right
    if left is None:
        right = _loaded(right, True)
        if not isinstance(right, Branch):
            return right
    elif right is None:
        left = _loaded(left, True)
        if not isinstance(left, Branch):
            return left
    return Branch(left, right)


# --- state --------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class StateProof:
    """That (contract, key) holds ``value``, or nothing, under a state root.

    Attributes:
        contract, key: the slot.
        value: its bytes, or None when the proof is one of absence.
        siblings: the other halves' hashes from the root down.
        other: for absence where another entry sits: its (position, value hash).
    """

    contract: Name
    key: Annotated[bytes, at_most(MAX_KEY)]
    value: Annotated[bytes, at_most(MAX_VALUE)] | None
    siblings: Annotated[tuple[Digest, ...], at_most(BITS)]
    other: tuple[Digest, Digest] | None


@dataclass(frozen=True, slots=True)
class LedgerState:
    """An immutable state with its authenticated root; `State()` is empty.

    Attributes:
        node: the tree's topmost node.
    """

    node: Node = field(default=None, repr=False)

    @property
    def root(self) -> bytes:
        """The 32-byte root that a header holds."""
        return _hash(self.node)

    def get(self, contract: str, key: bytes) -> bytes | None:
        """The value at (contract, key), or None."""
        position = key_hash(contract, key)
        node, _ = self._descend(position)
        if isinstance(node, Entry) and node.position == position:
            return node.value
        return None

    def apply(self, writes: Writes) -> "LedgerState":
        """The state after ``writes``; this one stays as it is."""
        node = self.node
        for slot, value in writes.items():
            position = key_hash(*slot)
            if value is None:
                node = _delete(node, position, 0)
            else:
                content = hashlib.sha256(value).digest()
                entry = Entry(entry_hash(position, content), position, slot, value)
                node = _insert(node, entry, 0)
        return LedgerState(node)

    def prove(self, contract: str, key: bytes) -> StateProof:
        """A proof of what (contract, key) holds, to be checked by `verify_state`."""
        position = key_hash(contract, key)
        node, siblings = self._descend(position)
        if not isinstance(node, Entry):
            return StateProof(contract, key, None, siblings, None)
        if node.position == position:
            return StateProof(contract, key, node.value, siblings, None)
        other = (node.position, hashlib.sha256(node.value).digest())
        return StateProof(contract, key, None, siblings, other)

    def items(self) -> Iterator[tuple[Slot, bytes]]:
        """Every slot with its value, in the order of positions."""
        waiting = [self.node]
        while waiting:
            node = _loaded(waiting.pop(), False)
            if isinstance(node, Entry):
                yield node.slot, node.value
            elif node is not None:
                waiting += (node.right, node.left)

    def _descend(self, position: bytes) -> tuple[Entry | Branch | None, tuple[bytes, ...]]:
        """The entry or gap where ``position`` leads, and the siblings passed."""
        node = _loaded(self.node, False)
        siblings: list[bytes] = []
        while isinstance(node, Branch):
            if _bit(position, len(siblings)):
                siblings.append(_hash(node.left))
                node = _loaded(node.right, False)
            else:
                siblings.append(_hash(node.right))
                node = _loaded(node.left, False)
        return node, tuple(siblings)


def verify_state(proof: StateProof, root: bytes) -> None:
    """Raise `MerkleError` unless ``proof`` leads to the state root ``root``.

    Absence is proven by the gap where the entry would lie, or by the single entry that has its
    subtree to itself and is another one.
    """
    position = key_hash(proof.contract, proof.key)
    depth = len(proof.siblings)
    parts = (*proof.siblings, root, *(proof.other or ()))
    if depth > BITS or any(len(part) != len(EMPTY) for part in parts):
        raise MerkleError("the state proof has hashes of a wrong length or too many")
    if proof.value is not None:
        if proof.other is not None:
            raise MerkleError("a proof of presence names no other entry")
        current = entry_hash(position, hashlib.sha256(proof.value).digest())
    elif proof.other is not None:
        theirs = proof.other[0]
        if theirs == position:
            raise MerkleError("the entry said to be another is the very one")
        if any(_bit(theirs, i) != _bit(position, i) for i in range(depth)):
            raise MerkleError("the other entry lies in a different subtree")
        current = entry_hash(*proof.other)
    else:
        current = EMPTY
    for level in reversed(range(depth)):
        sibling = proof.siblings[level]
        pair = (sibling, current) if _bit(position, level) else (current, sibling)
        current = branch_hash(*pair)
    if current != root:
        raise MerkleError("the state proof leads to another root")


# --- writing ------------------------------------------------------------------------------------


class Overlay:
    """Writes on top of a `State` or of another overlay, kept apart until merged or dropped."""

    def __init__(self, base: "LedgerState | Overlay") -> None:
        self._base = base
        self._writes: dict[Slot, bytes | None] = {}

    def get(self, contract: str, key: bytes) -> bytes | None:
        """The value at (contract, key) as seen through this overlay."""
        slot = (contract, key)
        if slot in self._writes:
            return self._writes[slot]
        return self._base.get(contract, key)

    def put(self, contract: str, key: bytes, value: bytes | None) -> None:
        """Write, or with None delete."""
        self._writes[contract, key] = value

    def merge(self) -> None:
        """Hand these writes to the overlay below; `AssertionError` on a bare state."""
        assert isinstance(self._base, Overlay), "a LedgerState is immutable; use writes()"
        self._base._writes.update(self._writes)  # noqa: SLF001 - its own class
        self._writes.clear()

    def writes(self) -> dict[Slot, bytes | None]:
        """What truly changes against the base, ordered by slot."""
        return {slot: self._writes[slot] for slot in sorted(self._writes)
                if self._writes[slot] != self._base.get(*slot)}


class NodeFile:
    """Nodes by hash in a temporary file of SQLite's own, the last used ones in memory.

    Args:
        kept: how many nodes stay in memory.
    """

    def __init__(self, kept: int) -> None:
        self._db = sqlite3.connect("")
        self._db.execute(
            "CREATE TABLE nodes (name BLOB PRIMARY KEY, a BLOB, b BLOB, value BLOB) WITHOUT ROWID")
        self._kept = kept
        self._recent: OrderedDict[bytes, Entry | Branch] = OrderedDict()
        self._replaced: set[bytes] = set()

    def close(self) -> None:
        """Remove the file."""
        self._db.close()

    def load(self, name: bytes, replaced: bool) -> Entry | Branch:
        """The node of hash ``name``, which the next `spill` drops if it is being ``replaced``."""
        if replaced:
            self._replaced.add(name)
        node = self._recent.get(name)
        if node is None:
            a, b, value = self._db.execute(
                "SELECT a, b, value FROM nodes WHERE name = ?", (name,)).fetchone()
            if value is None:
                node = Branch(self._child(a), self._child(b), name)
            else:
                slot = (a.decode(), b)
                node = Entry(name, key_hash(*slot), slot, value)
        self._remember(name, node)
        return node

    def spill(self, state: LedgerState) -> LedgerState:
        """The same state with all nodes in the file; every state before it is then void."""
        fresh: list[tuple[bytes, bytes, bytes, bytes | None]] = []
        waiting: list[Node] = [state.node]
        while waiting:
            node = waiting.pop()
            if isinstance(node, (Entry, Branch)):
                fresh.append(_row(node))
            if isinstance(node, Branch):
                waiting += (node.left, node.right)
        self._db.execute("BEGIN")
        self._db.executemany("DELETE FROM nodes WHERE name = ?",
                             [(name,) for name in self._replaced])
        self._db.executemany("INSERT OR REPLACE INTO nodes VALUES (?, ?, ?, ?)", fresh)
        self._db.execute("COMMIT")
        for name in self._replaced:
            self._recent.pop(name, None)
        self._replaced.clear()
        return LedgerState() if state.node is None else LedgerState(Stub(state.node.hash, self))

    def count(self) -> int:
        """How many nodes the file holds."""
        (count,) = self._db.execute("SELECT COUNT(*) FROM nodes").fetchone()
        return int(count)

    def _remember(self, name: bytes, node: Entry | Branch) -> None:
        self._recent[name] = node
        self._recent.move_to_end(name)
        if len(self._recent) > self._kept:
            self._recent.popitem(last=False)

    def _child(self, name: bytes) -> Node:
        return None if name == EMPTY else Stub(name, self)


def _row(node: Entry | Branch) -> tuple[bytes, bytes, bytes, bytes | None]:
    """A node's row: (hash, contract, key, value) of an entry, (hash, left, right, null) else."""
    if isinstance(node, Entry):
        return node.hash, node.slot[0].encode(), node.slot[1], node.value
    left, right = (EMPTY if side is None else side.hash for side in (node.left, node.right))
    return node.hash, left, right, None
