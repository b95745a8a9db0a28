"""What everything costs: the one table, versioned, and the static prices of syntax.

Two rules make gas exact and cheap to meter:

* **Static** cost is charged when a statement begins, for every node of its expressions (both arms
  of a conditional and both sides of `and` included), and again for each iteration of a loop or
  comprehension. It is known before anything runs.
* **Dynamic** cost depends on sizes (long numbers, texts, lists) and is charged inside the
  operation, before its work. It pays for the worst case of the operation, and for the memory that
  the result takes. Both are counted by formula, so they are the same number on every machine.

One gas pays for about 40 ns of the compiled engine on a laptop and for 4 bytes.
``benchmarks/contracts.py`` measures both for a hundred programs that try to get more. A change of
any number here is a new version, because every node must charge the same.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from bdn.chain.contracts.errors import OutOfGas
from bdn.chain.contracts.front import syntax as S  # noqa: N812 - one letter keeps the table readable
from bdn.errors import UsageError


@dataclass(frozen=True, slots=True)
class GasTable:
    """The prices of one version. Fields named ``…_per_gas`` say how much one gas buys.

    Attributes:
        version: the number that genesis names.
        nodes: static price of each kind of syntax node, and of each arithmetic operator.
        item: per item of a list display.
        entry: per entry of a dict display, or added to a dict by a comprehension.
        iteration: per iteration of a loop or comprehension, in addition to the nodes evaluated.
        bytes_per_gas: bytes of memory for a new text, byte string, long integer or list slot
            (8 bytes each).
        scanned_per_gas: characters compared or hashed.
        searched_per_gas: characters of the text and the part that a search reads.
        pairs_per_gas: pairs of characters compared by a search that may be quadratic.
        moved_per_gas: list items moved to make room or to close a gap.
        element: per item that a built-in function or method compares, adds up or counts.
        pair: per small list or piece of text that `enumerate`, `zip`, `items` or `split` makes.
        character: per character outside ASCII that becomes a text of its own.
        copied: per entry of a dict that is copied.
        call: entering a transaction's or another contract's function.
        read, write, erase: one access to storage.
        written: per byte of key or value written to storage, emitted, returned to a transaction,
            or told by `require`: what a ledger keeps.
        decoded: per byte of a list, dict or number read from storage.
        event: one event.
        sha256, sha256_block: a hash, and per 64 bytes hashed.
        signature: one Ed25519 verification.
        modular: a product modulo m is ``modular + words² // modular_divisor`` (words of 64 bits).
        inverse: an inverse modulo m, in products.
        sealed: one call of a host function on sealed updates, plus per byte of them:
        verified_byte, added_byte: to verify its proof, and to add it to the sum of Eq. (5).
        bounded, bounded_byte: to verify a norm proof as well, per update and per byte of it.
    """

    version: int
    nodes: Mapping[type | str, int]
    item: int
    entry: int
    iteration: int
    bytes_per_gas: int
    scanned_per_gas: int
    searched_per_gas: int
    pairs_per_gas: int
    moved_per_gas: int
    element: int
    pair: int
    character: int
    copied: int
    call: int
    read: int
    write: int
    erase: int
    written: int
    decoded: int
    event: int
    sha256: int
    sha256_block: int
    signature: int
    modular: int
    modular_divisor: int
    inverse: int
    sealed: int
    verified_byte: int
    added_byte: int
    bounded: int
    bounded_byte: int


_VERSION_2 = GasTable(
    version=2,
    nodes={
        S.Literal: 1, S.Variable: 1, S.ContextField: 2, S.ListOf: 14, S.DictOf: 30, S.Unary: 3,
        S.Compare: 3, S.Chain: 6, S.IsNone: 2, S.Boolean: 2, S.Conditional: 2,
        S.Index: 6, S.Slice: 18, S.Comprehension: 10, S.CallBuiltin: 10, S.CallMethod: 12,
        S.CallPrivate: 24, S.CallContract: 40, S.CallHost: 20, S.StorageRead: 10, S.StorageHas: 10,
        S.Assign: 1, S.Unpack: 20, S.SetIndex: 10, S.DeleteIndex: 6, S.StorageWrite: 10,
        S.StorageDelete: 10, S.Evaluate: 1, S.Require: 2, S.Emit: 10, S.If: 3, S.While: 2,
        S.For: 14, S.Return: 2, S.Break: 1, S.Continue: 1, S.Pass: 2,
        "+": 4, "-": 4, "*": 4, "//": 7, "%": 7, "&": 5, "|": 5, "^": 5, "<<": 14, ">>": 14,
        "**": 12,
    },
    item=3, entry=14, iteration=5, bytes_per_gas=4, scanned_per_gas=32, searched_per_gas=8,
    pairs_per_gas=192, moved_per_gas=64, element=20, pair=26, character=20, copied=10, call=150,
    read=100, write=400, erase=200, written=8, decoded=8, event=100,
    sha256=60, sha256_block=4, signature=4000, modular=30, modular_divisor=12, inverse=4,
    sealed=20_000, verified_byte=40, added_byte=60, bounded=6_000_000, bounded_byte=30,
)

TABLES: Mapping[int, GasTable] = {2: _VERSION_2}
"""All versions that this implementation can run."""

LATEST = 2


def gas_table(version: int) -> GasTable:
    """Return the table of ``version``; raise `UsageError` when there is none."""
    if version not in TABLES:
        raise UsageError(f"there is no gas table of version {version}; known: {sorted(TABLES)}")
    return TABLES[version]


# --- charging -----------------------------------------------------------------------------------


class GasMeter(Protocol):
    """Whatever holds the gas that is left and the prices."""

    gas: int

    @property
    def table(self) -> GasTable:
        """The prices."""


def charge(meter: GasMeter, amount: int) -> None:
    """Take ``amount`` or raise `OutOfGas`. Called before the work that it pays."""
    meter.gas -= amount
    if meter.gas < 0:
        raise OutOfGas()


# --- static price -------------------------------------------------------------------------------


def price_of(table: GasTable, *expressions: S.Expression | None) -> int:
    """The static price of evaluating ``expressions``, bodies of comprehensions left out."""
    return sum(_price(table, node) for node in expressions if node is not None)


def _price(table: GasTable, node: S.Expression) -> int:
    own = table.nodes[node.operator if isinstance(node, S.Binary) else type(node)]
    match node:
        case S.ListOf(items=items):
            return own + len(items) * table.item + price_of(table, *items)
        case S.DictOf(keys=keys, values=values):
            return own + len(keys) * table.entry + price_of(table, *keys, *values)
        case S.Unary(operand=operand) | S.IsNone(operand=operand):
            return own + _price(table, operand)
        case S.Binary() | S.Compare() | S.Boolean():
            return own + _price(table, node.left) + _price(table, node.right)
        case S.Chain(operands=operands):
            return own * (len(operands) - 1) + price_of(table, *operands)
        case S.Conditional(test=test, then=then, other=other):
            return own + price_of(table, test, then, other)
        case S.Index(container=container, index=index):
            return own + price_of(table, container, index)
        case S.Slice(container=container, start=start, stop=stop):
            return own + price_of(table, container, start, stop)
        case S.Comprehension(iterable=iterable):
            return own + _price(table, iterable)
        case S.CallMethod(receiver=receiver, arguments=arguments):
            return own + price_of(table, receiver, *arguments)
        case S.CallBuiltin() | S.CallPrivate() | S.CallContract() | S.CallHost():
            return own + price_of(table, *node.arguments)
        case S.StorageRead(keys=keys, default=default):
            return own + table.read + price_of(table, *keys, default)
        case S.StorageHas(keys=keys):
            return own + table.read + price_of(table, *keys)
    return own


def iteration_price(table: GasTable, node: S.Comprehension | S.For) -> int:
    """The static price of one iteration: of a loop, or of a comprehension with its body."""
    each = table.iteration + (table.nodes[S.Unpack] if len(node.targets) > 1 else 0)
    if isinstance(node, S.For):
        return each
    added = table.item if node.key is None else table.entry
    return each + added + price_of(table, node.condition, node.key, node.element)


def statement_price(table: GasTable, node: S.Statement) -> int:
    """The static price of beginning a statement (of a `While`: of each test)."""
    own = table.nodes[type(node)]
    match node:
        case S.Assign(value=value) | S.Evaluate(value=value) | S.Return(value=value):
            return own + _price(table, value)
        case S.Unpack(values=values):
            return own + price_of(table, *values)
        case S.SetIndex(container=container, index=index, value=value, operator=operator):
            extra = table.nodes[S.Index] + table.nodes[operator] if operator else 0
            return own + extra + price_of(table, container, index, value)
        case S.DeleteIndex(container=container, index=index):
            return own + price_of(table, container, index)
        case S.StorageWrite(keys=keys, value=value, operator=operator):
            extra = table.read + table.nodes[operator] if operator else 0
            return own + extra + table.write + price_of(table, *keys, value)
        case S.StorageDelete(keys=keys):
            return own + table.erase + price_of(table, *keys)
        case S.Require(condition=condition, message=message):
            return own + price_of(table, condition, message)
        case S.Emit(values=values):
            return own + table.event + price_of(table, *values)
        case S.If(test=test) | S.While(test=test):
            return own + _price(table, test)
        case S.For(iterable=iterable):
            return own + _price(table, iterable)
    return own
