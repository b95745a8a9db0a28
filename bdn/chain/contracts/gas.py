"""What everything costs: the one table, versioned, and the formulas that use it.

Two rules make gas exact and cheap to meter:

* **Static** cost is charged when a statement begins, for every node of its expressions (both arms
  of a conditional and both sides of `and` included), and again for each iteration of a loop or
  comprehension. It is known before anything runs.
* **Dynamic** cost depends on sizes (long numbers, texts, lists) and is charged inside the
  operation, before its work. What an operation allocates is counted by formula: the same number on
  every machine. A sum or a difference at the cap of `MAX_INT_BITS` costs little more time than a
  small one, which the flat price covers; what it keeps is charged by its words.

One gas pays for about 40 ns of the compiled engine on a laptop, and for 100 at the very worst; a
test compares the operations. A change of any number is a new version, because every node must
charge the same.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from bdn.chain.contracts.errors import OutOfGas
from bdn.chain.contracts.front import syntax as S  # noqa: N812 - one letter keeps the table readable
from bdn.errors import UsageError


@dataclass(frozen=True, slots=True)
class GasTable:
    """The prices of one version.

    Attributes:
        version: the number that genesis names.
        nodes: static price of each kind of syntax node.
        item: per item of a list display, three per entry of a dict display.
        iteration: per iteration of a loop or comprehension, beside the nodes evaluated in it.
        call: entering a transaction's or another contract's function.
        read, write, erase: one access to storage.
        written: per byte written to storage, emitted, returned to a transaction, or told by
            `require`: what a ledger keeps.
        decoded: per byte of a list, dict or number read from storage.
        event: one event.
        sha256, sha256_block: a hash, and per 64 bytes hashed.
        signature: one Ed25519 verification.
        modular: a product modulo m is ``modular + words² // modular_divisor`` (words of 64 bits).
    """

    version: int
    nodes: Mapping[type, int]
    item: int
    iteration: int
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


_VERSION_1 = GasTable(
    version=1,
    nodes={
        S.Literal: 1, S.Variable: 1, S.ContextField: 2, S.ListOf: 4, S.DictOf: 6, S.Unary: 2,
        S.Binary: 3, S.Compare: 3, S.Chain: 3, S.IsNone: 2, S.Boolean: 2, S.Conditional: 2,
        S.Index: 4, S.Slice: 6, S.Comprehension: 10, S.CallBuiltin: 10, S.CallMethod: 10,
        S.CallPrivate: 15, S.CallContract: 40, S.CallHost: 20, S.StorageRead: 10, S.StorageHas: 10,
        S.Assign: 1, S.Unpack: 3, S.SetIndex: 6, S.DeleteIndex: 6, S.StorageWrite: 10,
        S.StorageDelete: 10, S.Evaluate: 1, S.Require: 2, S.Emit: 10, S.If: 1, S.While: 2,
        S.For: 10, S.Return: 2, S.Break: 1, S.Continue: 1, S.Pass: 1,
    },
    item=2, iteration=3, call=100, read=100, write=400, erase=200, written=8, decoded=8,
    event=100,
    sha256=60, sha256_block=4, signature=4000, modular=25, modular_divisor=16,
)

TABLES: Mapping[int, GasTable] = {1: _VERSION_1}
"""All versions that this implementation can run."""

LATEST = 1


def gas_table(version: int) -> GasTable:
    """The table of ``version``; raises `UsageError` when there is none."""
    if version not in TABLES:
        raise UsageError(f"there is no gas table of version {version}; known: {sorted(TABLES)}")
    return TABLES[version]


# --- charging -----------------------------------------------------------------------------------


class GasMeter(Protocol):
    """Whatever holds the gas that is left."""

    gas: int


def charge(meter: GasMeter, amount: int) -> None:
    """Take ``amount`` or raise `OutOfGas`. Called before the work that it pays."""
    meter.gas -= amount
    if meter.gas < 0:
        raise OutOfGas("out of gas")


# --- static price -------------------------------------------------------------------------------


def price_of(table: GasTable, *expressions: S.Expression | None) -> int:
    """The static price of evaluating ``expressions``, bodies of comprehensions left out."""
    return sum(_price(table, node) for node in expressions if node is not None)


def _price(table: GasTable, node: S.Expression) -> int:
    own = table.nodes[type(node)]
    match node:
        case S.ListOf(items=items):
            return own + len(items) * table.item + price_of(table, *items)
        case S.DictOf(keys=keys, values=values):
            return own + 3 * len(keys) * table.item + price_of(table, *keys, *values)
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
    if isinstance(node, S.For):
        return table.iteration
    return table.iteration + 1 + price_of(table, node.condition, node.key, node.element)


def statement_price(table: GasTable, node: S.Statement) -> int:
    """The static price of beginning a statement (of a `While`: of each test)."""
    own = table.nodes[type(node)]
    match node:
        case S.Assign(value=value) | S.Evaluate(value=value) | S.Return(value=value):
            return own + _price(table, value)
        case S.Unpack(values=values):
            return own + price_of(table, *values)
        case S.SetIndex(container=container, index=index, value=value, operator=operator):
            extra = table.nodes[S.Index] + table.nodes[S.Binary] if operator else 0
            return own + extra + price_of(table, container, index, value)
        case S.DeleteIndex(container=container, index=index):
            return own + price_of(table, container, index)
        case S.StorageWrite(keys=keys, value=value, operator=operator):
            extra = table.read + table.nodes[S.Binary] if operator else 0
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
