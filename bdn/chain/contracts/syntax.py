"""The abstract syntax: what a checked contract consists of. Both engines read this and no source.

Every node knows its line and column. Names are resolved: a `Local` is one of the function's own
variables, constants have become `Literal`s, and a call says what kind of thing it calls.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

# --- expressions --------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Node:
    """A place in the source."""

    line: int
    column: int


@dataclass(frozen=True, slots=True)
class Literal(Node):
    """An immutable value written in the source, or a constant's value."""

    value: Any


@dataclass(frozen=True, slots=True)
class Local(Node):
    """A variable or parameter of the function. A comprehension's own has a ``#number`` suffix."""

    name: str


@dataclass(frozen=True, slots=True)
class ContextField(Node):
    """``context.name``."""

    name: str


@dataclass(frozen=True, slots=True)
class ListOf(Node):
    """``[a, b, …]``: a new list."""

    items: tuple["Expression", ...]


@dataclass(frozen=True, slots=True)
class DictOf(Node):
    """``{k: v, …}``: a new dict."""

    keys: tuple["Expression", ...]
    values: tuple["Expression", ...]


@dataclass(frozen=True, slots=True)
class Unary(Node):
    """``-a``, ``+a``, ``~a``, ``not a``."""

    operator: str
    operand: "Expression"


@dataclass(frozen=True, slots=True)
class Binary(Node):
    """``a + b`` and the other arithmetic and bit operators."""

    operator: str
    left: "Expression"
    right: "Expression"


@dataclass(frozen=True, slots=True)
class Compare(Node):
    """``a < b``, ``a == b``, ``a in b`` … . A chain has become a `Chain` of these."""

    operator: str
    left: "Expression"
    right: "Expression"


@dataclass(frozen=True, slots=True)
class Chain(Node):
    """``a < b <= c``: each operand is evaluated once, and none after the first false link."""

    operators: tuple[str, ...]
    operands: tuple["Expression", ...]


@dataclass(frozen=True, slots=True)
class IsNone(Node):
    """``a is None`` or, negated, ``a is not None``."""

    operand: "Expression"
    negated: bool


@dataclass(frozen=True, slots=True)
class Boolean(Node):
    """``a and b`` or ``a or b``: the operand that decided is the result."""

    operator: str
    left: "Expression"
    right: "Expression"


@dataclass(frozen=True, slots=True)
class Conditional(Node):
    """``then if test else other``."""

    test: "Expression"
    then: "Expression"
    other: "Expression"


@dataclass(frozen=True, slots=True)
class Index(Node):
    """``container[index]``."""

    container: "Expression"
    index: "Expression"


@dataclass(frozen=True, slots=True)
class Slice(Node):
    """``sequence[start:stop]``, either bound may be absent."""

    container: "Expression"
    start: "Expression | None"
    stop: "Expression | None"


@dataclass(frozen=True, slots=True)
class Comprehension(Node):
    """``[element for targets in iterable if condition]``; with ``key``, a dict's."""

    targets: tuple[str, ...]
    iterable: "Expression"
    condition: "Expression | None"
    key: "Expression | None"
    element: "Expression"


@dataclass(frozen=True, slots=True)
class CallBuiltin(Node):
    """A function of the language: ``len(x)``."""

    name: str
    arguments: tuple["Expression", ...]


@dataclass(frozen=True, slots=True)
class CallMethod(Node):
    """A method of a value's type: ``xs.append(x)``."""

    receiver: "Expression"
    name: str
    arguments: tuple["Expression", ...]


@dataclass(frozen=True, slots=True)
class CallPrivate(Node):
    """A function of the same contract."""

    function: str
    arguments: tuple["Expression", ...]


@dataclass(frozen=True, slots=True)
class CallContract(Node):
    """A function of another contract."""

    contract: str
    function: str
    arguments: tuple["Expression", ...]


@dataclass(frozen=True, slots=True)
class CallHost(Node):
    """A host function."""

    name: str
    arguments: tuple["Expression", ...]


@dataclass(frozen=True, slots=True)
class StorageRead(Node):
    """``storage.cell`` or ``storage.map[keys]``; with ``default``, ``storage.map.get(…)``."""

    name: str
    keys: tuple["Expression", ...]
    default: "Expression | None" = None


@dataclass(frozen=True, slots=True)
class StorageHas(Node):
    """``keys in storage.map`` or, negated, ``keys not in storage.map``."""

    name: str
    keys: tuple["Expression", ...]
    negated: bool


Expression = (
    Literal | Local | ContextField | ListOf | DictOf | Unary | Binary | Compare | Chain | IsNone
    | Boolean | Conditional | Index | Slice | Comprehension | CallBuiltin | CallMethod
    | CallPrivate | CallContract | CallHost | StorageRead | StorageHas
)

# --- statements ---------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Assign(Node):
    """``name = value``."""

    name: str
    value: Expression


@dataclass(frozen=True, slots=True)
class Unpack(Node):
    """``a, b = x, y`` (two values or more) or ``a, b = pair`` (one value, a list)."""

    names: tuple[str, ...]
    values: tuple[Expression, ...]


@dataclass(frozen=True, slots=True)
class SetIndex(Node):
    """``container[index] = value``; with an operator, ``container[index] += value``."""

    container: Expression
    index: Expression
    value: Expression
    operator: str | None = None


@dataclass(frozen=True, slots=True)
class DeleteIndex(Node):
    """``del container[index]``."""

    container: Expression
    index: Expression


@dataclass(frozen=True, slots=True)
class StorageWrite(Node):
    """``storage.cell = value`` or ``storage.map[keys] = value``; with an operator, ``+=``."""

    name: str
    keys: tuple[Expression, ...]
    value: Expression
    operator: str | None = None


@dataclass(frozen=True, slots=True)
class StorageDelete(Node):
    """``del storage.map[keys]``."""

    name: str
    keys: tuple[Expression, ...]


@dataclass(frozen=True, slots=True)
class Evaluate(Node):
    """A call whose result is not used."""

    value: Expression


@dataclass(frozen=True, slots=True)
class Require(Node):
    """``require(condition, message)``; the message is evaluated only when it is needed."""

    condition: Expression
    message: Expression


@dataclass(frozen=True, slots=True)
class Emit(Node):
    """``emit("event", name=value, …)``; the names are sorted."""

    event: str
    names: tuple[str, ...]
    values: tuple[Expression, ...]


@dataclass(frozen=True, slots=True)
class If(Node):
    """``if test: … else: …``; an ``elif`` is an `If` in ``other``."""

    test: Expression
    then: tuple["Statement", ...]
    other: tuple["Statement", ...]


@dataclass(frozen=True, slots=True)
class While(Node):
    """``while test: …``."""

    test: Expression
    body: tuple["Statement", ...]


@dataclass(frozen=True, slots=True)
class For(Node):
    """``for targets in iterable: …``."""

    targets: tuple[str, ...]
    iterable: Expression
    body: tuple["Statement", ...]


@dataclass(frozen=True, slots=True)
class Return(Node):
    """``return value``."""

    value: Expression


@dataclass(frozen=True, slots=True)
class Break(Node):
    """``break``."""


@dataclass(frozen=True, slots=True)
class Continue(Node):
    """``continue``."""


@dataclass(frozen=True, slots=True)
class Pass(Node):
    """``pass``."""


Statement = (
    Assign | Unpack | SetIndex | DeleteIndex | StorageWrite | StorageDelete | Evaluate | Require
    | Emit | If | While | For | Return | Break | Continue | Pass
)

# --- declarations -------------------------------------------------------------------------------

Kinds = frozenset[type] | None
"""The types that an annotation permits; ``None`` permits any."""


@dataclass(frozen=True, slots=True)
class Storage(Node):
    """``name: map[bytes, int]`` (two key types or more: a composite key) or ``name: int``.

    Attributes:
        key_kinds: the key's parts; empty for a single value.
        kind: the value's type, or ``None`` for any.
    """

    name: str
    key_kinds: tuple[type, ...]
    kind: type | None


@dataclass(frozen=True, slots=True)
class Parameter(Node):
    """A function's parameter."""

    name: str
    kinds: Kinds


@dataclass(frozen=True, slots=True)
class Function(Node):
    """A function with who may call it.

    Attributes:
        public: transactions may call it.
        view: it changes nothing; transactions and all contracts may call it.
        callers: the other contracts that may call it.
        kinds: what it may return.
        documentation: its docstring, or "".
    """

    name: str
    parameters: tuple[Parameter, ...]
    kinds: Kinds
    body: tuple[Statement, ...]
    public: bool
    view: bool
    callers: frozenset[str]
    documentation: str


@dataclass(frozen=True, slots=True)
class Module:
    """A checked contract.

    Attributes:
        name: under which others call it.
        source: its text.
        constants: name to value.
        storage, functions: declarations by name.
        contracts, hosts: what it needs from outside.
        stack: each function's need of stack, with all that it calls in this contract.
    """

    name: str
    source: str
    documentation: str
    constants: Mapping[str, Any]
    storage: Mapping[str, Storage]
    functions: Mapping[str, Function]
    contracts: frozenset[str]
    hosts: frozenset[str]
    stack: Mapping[str, int]
