"""Expressions as closures: ``(machine, frame) -> value``. `statements` explains the idea.

The commonest cases are in `shortcuts`; everything else goes to the operations of the walker.
"""

from collections.abc import Callable, Mapping
from typing import Any

from bdn.chain.contracts.compiled import shortcuts
from bdn.chain.contracts.compiled.shortcuts import Code
from bdn.chain.contracts.errors import CallFailure, OutOfGas
from bdn.chain.contracts.front import syntax as S  # noqa: N812 - short in a match
from bdn.chain.contracts.gas import GasTable, iteration_price
from bdn.chain.contracts.limits import MAX_ITEMS
from bdn.chain.contracts.machine import CallMachine
from bdn.chain.contracts.operations import operators as op
from bdn.chain.contracts.operations.builtins import BUILTINS
from bdn.chain.contracts.operations.methods import call_method

Compiled = Callable[[CallMachine, Any], Any]
"""A function's closure: (machine, arguments) -> result."""


class Expressions:
    """Compiles the expressions of one function.

    Args:
        table: the gas prices.
        slots: variable names to frame slots.
        function: gives a function of the same contract, compiled.
    """

    def __init__(self, table: GasTable, slots: Mapping[str, int],
                 function: Callable[[str], Compiled]) -> None:
        self.table, self.slots, self.function = table, slots, function

    def compile(self, node: S.Expression) -> Code:
        """The closure of ``node``."""
        return _EXPRESSIONS[type(node)](self, node)

    def compile_all(self, nodes: tuple[S.Expression, ...]) -> tuple[Code, ...]:
        """The closures of ``nodes``."""
        return tuple(map(self.compile, nodes))

    # --- leaves ---------------------------------------------------------------------------------

    def literal(self, node: S.Literal) -> Code:
        value = node.value
        return lambda m, f: value  # noqa: ARG005 - an expression's signature

    def local(self, node: S.Variable) -> Code:
        slot = self.slots[node.name]
        return lambda m, f: f[slot]  # noqa: ARG005 - as above

    def context_field(self, node: S.ContextField) -> Code:
        name = node.name
        return lambda m, f: m.context[name]  # noqa: ARG005 - as above

    def list_of(self, node: S.ListOf) -> Code:
        items = self.compile_all(node.items)
        return lambda m, f: [item(m, f) for item in items]

    def dict_of(self, node: S.DictOf) -> Code:
        pairs = tuple(zip(self.compile_all(node.keys), self.compile_all(node.values), strict=True))
        return lambda m, f: op.build_dict(m, ((key(m, f), value(m, f)) for key, value in pairs))

    # --- operators ------------------------------------------------------------------------------

    def unary(self, node: S.Unary) -> Code:
        operand = self.compile(node.operand)
        if node.operator == "not":
            return lambda m, f: not operand(m, f)
        operation = op.UNARY[node.operator]
        return lambda m, f: operation(m, operand(m, f))

    def binary(self, node: S.Binary) -> Code:
        left, right = self.compile(node.left), self.compile(node.right)
        return shortcuts.binary(self.table, node.operator, left, right, _literal(node.right),
                                self.variables(node.left, node.right))

    def compare(self, node: S.Compare) -> Code:
        left, right = self.compile(node.left), self.compile(node.right)
        return shortcuts.compare(self.table, node.operator, left, right, _literal(node.right),
                                 self.variables(node.left, node.right))

    def variables(self, left: S.Expression, right: S.Expression) -> tuple[int | None, int | None]:
        """The slots of the operands that are variables."""
        first, second = (self.slots[node.name] if isinstance(node, S.Variable) else None
                         for node in (left, right))
        return first, second

    def chain(self, node: S.Chain) -> Code:
        first, *rest = self.compile_all(node.operands)
        links = tuple(zip((op.COMPARE[name] for name in node.operators), rest, strict=True))

        def run(m: CallMachine, f: list[Any]) -> bool:
            left = first(m, f)
            for compare, operand in links:
                right = operand(m, f)
                if not compare(m, left, right):
                    return False
                left = right
            return True

        return run

    def is_none(self, node: S.IsNone) -> Code:
        operand = self.compile(node.operand)
        if node.negated:
            return lambda m, f: operand(m, f) is not None
        return lambda m, f: operand(m, f) is None

    def boolean(self, node: S.Boolean) -> Code:
        left, right = self.compile(node.left), self.compile(node.right)
        if node.operator == "and":
            return lambda m, f: left(m, f) and right(m, f)
        return lambda m, f: left(m, f) or right(m, f)

    def conditional(self, node: S.Conditional) -> Code:
        test, then, other = map(self.compile, (node.test, node.then, node.other))
        return lambda m, f: then(m, f) if test(m, f) else other(m, f)

    # --- items ----------------------------------------------------------------------------------

    def index(self, node: S.Index) -> Code:
        return shortcuts.index(self.table, self.compile(node.container), self.compile(node.index))

    def slice(self, node: S.Slice) -> Code:
        container = self.compile(node.container)
        bounds = [bound.value if isinstance(bound, S.Literal) else bound
                  for bound in (node.start, node.stop)]
        if all(bound is None or type(bound) is int for bound in bounds):
            return shortcuts.part(self.table, container, *bounds)
        start = _absent if node.start is None else self.compile(node.start)
        stop = _absent if node.stop is None else self.compile(node.stop)
        return lambda m, f: op.get_slice(m, container(m, f), start(m, f), stop(m, f))

    def comprehension(self, node: S.Comprehension) -> Code:
        slots = [self.slots[name] for name in node.targets]
        first, count, each = slots[0], len(slots), iteration_price(self.table, node)
        iterable, element = self.compile(node.iterable), self.compile(node.element)
        condition = None if node.condition is None else self.compile(node.condition)
        key = None if node.key is None else self.compile(node.key)

        def accepted(m: CallMachine, f: list[Any]) -> Any:
            """Walk, binding the targets, through the items that the condition accepts."""
            for item in op.iterate(m, iterable(m, f)):
                m.gas = left = m.gas - each
                if left < 0:
                    raise OutOfGas()
                if count == 1:
                    f[first] = item
                else:
                    for slot, part in zip(slots, op.unpack(item, count), strict=True):
                        f[slot] = part
                if condition is None or condition(m, f):
                    yield

        def make_list(m: CallMachine, f: list[Any]) -> list[Any]:
            items = [element(m, f) for _ in accepted(m, f)]
            if len(items) > MAX_ITEMS:
                raise CallFailure("too-many", "list", MAX_ITEMS)
            return items

        if key is None:
            return make_list
        return lambda m, f: op.build_dict(
            m, ((key(m, f), element(m, f)) for _ in accepted(m, f)))

    # --- calls ----------------------------------------------------------------------------------

    def call_builtin(self, node: S.CallBuiltin) -> Code:
        arguments, full = self.compile_all(node.arguments), BUILTINS[node.name]
        if node.name == "len":
            return shortcuts.length(arguments[0], full)
        if node.name == "str":
            return shortcuts.text(arguments[0], full)
        if node.name == "to_bytes" and isinstance(node.arguments[1], S.Literal):
            width = node.arguments[1].value
            if type(width) is int and 0 <= width <= 32:
                return shortcuts.to_bytes(self.table, arguments[0], width, full)
        if len(arguments) == 1:
            (only,) = arguments
            return lambda m, f: full(m, (only(m, f),))
        if len(arguments) == 2:
            first, second = arguments
            return lambda m, f: full(m, (first(m, f), second(m, f)))
        return lambda m, f: full(m, [argument(m, f) for argument in arguments])

    def call_method(self, node: S.CallMethod) -> Code:
        receiver, arguments = self.compile(node.receiver), self.compile_all(node.arguments)
        name = node.name
        if name == "get" and len(arguments) == 2:
            return shortcuts.get(self.table, receiver, *arguments)
        if name == "append":
            return shortcuts.append(receiver, *arguments)
        return lambda m, f: call_method(m, receiver(m, f), name, [a(m, f) for a in arguments])

    def call_private(self, node: S.CallPrivate) -> Code:
        function, arguments = self.function(node.function), self.compile_all(node.arguments)
        return lambda m, f: function(m, [argument(m, f) for argument in arguments])

    def call_contract(self, node: S.CallContract) -> Code:
        contract, function = node.contract, node.function
        arguments = self.compile_all(node.arguments)
        return lambda m, f: m.call_contract(contract, function, [a(m, f) for a in arguments])

    def call_host(self, node: S.CallHost) -> Code:
        name, arguments = node.name, self.compile_all(node.arguments)
        return lambda m, f: m.call_host(name, [argument(m, f) for argument in arguments])

    # --- storage --------------------------------------------------------------------------------

    def storage_read(self, node: S.StorageRead) -> Code:
        name, keys = node.name, self.compile_all(node.keys)
        if node.default is None:
            return lambda m, f: m.read(name, [key(m, f) for key in keys])
        default = self.compile(node.default)
        return lambda m, f: m.read_or(name, [key(m, f) for key in keys], default(m, f))

    def storage_has(self, node: S.StorageHas) -> Code:
        name, keys, negated = node.name, self.compile_all(node.keys), node.negated
        return lambda m, f: m.has(name, [key(m, f) for key in keys]) != negated


def _literal(node: S.Expression) -> Any:
    """The value of a literal; ``None`` for any other expression."""
    return node.value if isinstance(node, S.Literal) else None


def _absent(m: CallMachine, f: list[Any]) -> None:
    """A slice's bound that is left out."""


_EXPRESSIONS: Mapping[type, Callable[[Expressions, Any], Code]] = {
    S.Literal: Expressions.literal, S.Variable: Expressions.local,
    S.ContextField: Expressions.context_field, S.ListOf: Expressions.list_of,
    S.DictOf: Expressions.dict_of, S.Unary: Expressions.unary, S.Binary: Expressions.binary,
    S.Compare: Expressions.compare, S.Chain: Expressions.chain, S.IsNone: Expressions.is_none,
    S.Boolean: Expressions.boolean, S.Conditional: Expressions.conditional,
    S.Index: Expressions.index, S.Slice: Expressions.slice,
    S.Comprehension: Expressions.comprehension, S.CallBuiltin: Expressions.call_builtin,
    S.CallMethod: Expressions.call_method, S.CallPrivate: Expressions.call_private,
    S.CallContract: Expressions.call_contract, S.CallHost: Expressions.call_host,
    S.StorageRead: Expressions.storage_read, S.StorageHas: Expressions.storage_has,
}
