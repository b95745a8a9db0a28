"""A state whose tree lies in a temporary file, so that verifying takes bounded memory.

The in-memory `State` is the plain version; this one is for histories whose live state outgrows
what a verifier wants to hold. Nodes are stored by their hash. Each lies at one place of one tree
(an entry's hash covers its position), and a verifier's history is linear, so a node that is being
rewritten can be dropped: the file holds the live tree and nothing else.
"""

import sqlite3
from collections import OrderedDict

from bdn.chain.state import EMPTY, Branch, Entry, Node, State, Stub, key_hash


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

    def spill(self, state: State) -> State:
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
        return State() if state.node is None else State(Stub(state.node.hash, self))

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
