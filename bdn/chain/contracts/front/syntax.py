"""The abstract syntax: what a checked contract consists of. Both engines read this and no source.

Every node knows its line and column. Names are resolved: a `Variable` is one of the function's own
variables, constants have become `Literal`s, and a call says what kind of thing it calls.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

# --- expressions --------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class SyntaxNode:
    """A place in the source."""

    line: int
    column: int


@dataclass(frozen=True, slots=True)
class Literal(SyntaxNode):
    """An immutable value written in the source, or a constant's value."""

    value: Any


@dataclass(frozen=True, slots=True)
class Variable(SyntaxNode):
    """A variable or parameter of the function. A comprehension's own has a ``#number`` suffix."""

    name: str


@dataclass(frozen=True, slots=True)
class ContextField(SyntaxNode):
    """``context.name``."""

    name: str


@dataclass(frozen=True, slots=True)
class ListOf(SyntaxNode):
    """``[a, b, …]``: a new list."""

    items: tuple["Expression", ...]


@dataclass(frozen=True, slots=True)
class DictOf(SyntaxNode):
    """``{k: v, …}``: a new dict."""

    keys: tuple["Expression", ...]
    values: tuple["Expression", ...]


@dataclass(frozen=True, slots=True)
class Unary(SyntaxNode):
    """``-a``, ``+a``, ``~a``, ``not a``."""

    operator: str
    operand: "Expression"


@dataclass(frozen=True, slots=True)
class Binary(SyntaxNode):
    """``a + b`` and the other arithmetic and bit operators."""

    operator: str
    left: "Expression"
    right: "Expression"


@dataclass(frozen=True, slots=True)
class Compare(SyntaxNode):
    """``a < b``, ``a == b``, ``a in b`` … . A chain has become a `Chain` of these."""

    operator: str
    left: "Expression"
    right: "Expression"


@dataclass(frozen=True, slots=True)
class Chain(SyntaxNode):
    """``a < b <= c``: each operand is evaluated once, and none after the first false link."""

    operators: tuple[str, ...]
    operands: tuple["Expression", ...]


@dataclass(frozen=True, slots=True)
class IsNone(SyntaxNode):
    """``a is None`` or, negated, ``a is not None``."""

    operand: "Expression"
    negated: bool


@dataclass(frozen=True, slots=True)
class Boolean(SyntaxNode):
    """``a and b`` or ``a or b``: the operand that decided is the result."""

    operator: str
    left: "Expression"
    right: "Expression"


@dataclass(frozen=True, slots=True)
class Conditional(SyntaxNode):
    """``then if test else other``."""

    test: "Expression"
    then: "Expression"
    other: "Expression"


@dataclass(frozen=True, slots=True)
class Index(SyntaxNode):
    """``container[index]``."""

    container: "Expression"
    index: "Expression"


@dataclass(frozen=True, slots=True)
class Slice(SyntaxNode):
    """``sequence[start:stop]``, either bound may be absent."""

    container: "Expression"
    start: "Expression | None"
    stop: "Expression | None"


@dataclass(frozen=True, slots=True)
class Comprehension(SyntaxNode):
    """``[element for targets in iterable if condition]``; with ``key``, a dict's."""

    targets: tuple[str, ...]
    iterable: "Expression"
    condition: "Expression | None"
    key: "Expression | None"
    element: "Expression"


@dataclass(frozen=True, slots=True)
class CallBuiltin(SyntaxNode):
    """A function of the language: ``len(x)``."""

    name: str
    arguments: tuple["Expression", ...]


@dataclass(frozen=True, slots=True)
class CallMethod(SyntaxNode):
    """A method of a value's type: ``xs.append(x)``."""

    receiver: "Expression"
    name: str
    arguments: tuple["Expression", ...]


@dataclass(frozen=True, slots=True)
class CallPrivate(SyntaxNode):
    """A function of the same contract."""

    function: str
    arguments: tuple["Expression", ...]


@dataclass(frozen=True, slots=True)
class CallContract(SyntaxNode):
    """A function of another contract."""

    contract: str
    function: str
    arguments: tuple["Expression", ...]


@dataclass(frozen=True, slots=True)
class CallHost(SyntaxNode):
    """A host function."""

    name: str
    arguments: tuple["Expression", ...]


@dataclass(frozen=True, slots=True)
class StorageRead(SyntaxNode):
    """``storage.cell`` or ``storage.map[keys]``; with ``default``, ``storage.map.get(…)``."""

    name: str
    keys: tuple["Expression", ...]
    default: "Expression | None" = None


@dataclass(frozen=True, slots=True)
class StorageHas(SyntaxNode):
    """``keys in storage.map`` or, negated, ``keys not in storage.map``."""

    name: str
    keys: tuple["Expression", ...]
    negated: bool


Expression = (
    Literal | Variable | ContextField | ListOf | DictOf | Unary | Binary | Compare | Chain | IsNone
    | Boolean | Conditional | Index | Slice | Comprehension | CallBuiltin | CallMethod
    | CallPrivate | CallContract | CallHost | StorageRead | StorageHas
)

# --- statements ---------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Assign(SyntaxNode):
    """``name = value``."""

    name: str
    value: Expression


@dataclass(frozen=True, slots=True)
class Unpack(SyntaxNode):
    """``a, b = x, y`` (two values or more) or ``a, b = pair`` (one value, a list)."""

    names: tuple[str, ...]
    values: tuple[Expression, ...]


@dataclass(frozen=True, slots=True)
class SetIndex(SyntaxNode):
    """``container[index] = value``; with an operator, ``container[index] += value``."""

    container: Expression
    index: Expression
    value: Expression
    operator: str | None = None


@dataclass(frozen=True, slots=True)
class DeleteIndex(SyntaxNode):
    """``del container[index]``."""

    container: Expression
    index: Expression


@dataclass(frozen=True, slots=True)
class StorageWrite(SyntaxNode):
    """``storage.cell = value`` or ``storage.map[keys] = value``; with an operator, ``+=``."""

    name: str
    keys: tuple[Expression, ...]
    value: Expression
    operator: str | None = None


@dataclass(frozen=True, slots=True)
class StorageDelete(SyntaxNode):
    """``del storage.map[keys]``."""

    name: str
    keys: tuple[Expression, ...]


@dataclass(frozen=True, slots=True)
class Evaluate(SyntaxNode):
    """A call whose result is not used."""

    value: Expression


@dataclass(frozen=True, slots=True)
class Require(SyntaxNode):
    """``require(condition, message)``; the message is evaluated only when it is needed."""

    condition: Expression
    message: Expression


@dataclass(frozen=True, slots=True)
class Emit(SyntaxNode):
    """``emit("event", name=value, …)``; the names are sorted."""

    event: str
    names: tuple[str, ...]
    values: tuple[Expression, ...]


@dataclass(frozen=True, slots=True)
class If(SyntaxNode):
    """``if test: … else: …``; an ``elif`` is an `If` in ``other``."""

    test: Expression
    then: tuple["Statement", ...]
    other: tuple["Statement", ...]


@dataclass(frozen=True, slots=True)
class While(SyntaxNode):
    """``while test: …``."""

    test: Expression
    body: tuple["Statement", ...]


@dataclass(frozen=True, slots=True)
class For(SyntaxNode):
    """``for targets in iterable: …``."""

    targets: tuple[str, ...]
    iterable: Expression
    body: tuple["Statement", ...]


@dataclass(frozen=True, slots=True)
class Return(SyntaxNode):
    """``return value``."""

    value: Expression


@dataclass(frozen=True, slots=True)
class Break(SyntaxNode):
    """``break``."""


@dataclass(frozen=True, slots=True)
class Continue(SyntaxNode):
    """``continue``."""


@dataclass(frozen=True, slots=True)
class Pass(SyntaxNode):
    """``pass``."""


Statement = (
    Assign | Unpack | SetIndex | DeleteIndex | StorageWrite | StorageDelete | Evaluate | Require
    | Emit | If | While | For | Return | Break | Continue | Pass
)

# --- declarations -------------------------------------------------------------------------------

Kinds = frozenset[type] | None
"""The types that an annotation permits; ``None`` permits any."""


@dataclass(frozen=True, slots=True)
class Storage(SyntaxNode):
    """``name: map[bytes, int]`` (two key types or more: a composite key) or ``name: int``.

    Attributes:
        key_kinds: the key's parts; empty for a single value.
        kind: the value's type, or ``None`` for any.
    """

    name: str
    key_kinds: tuple[type, ...]
    kind: type | None


@dataclass(frozen=True, slots=True)
class Parameter(SyntaxNode):
    """A function's parameter."""

    name: str
    kinds: Kinds


@dataclass(frozen=True, slots=True)
class Function(SyntaxNode):
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
