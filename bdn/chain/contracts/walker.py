"""The specification: a contract run by walking its tree, one small method for each node.

Read this to know what a program means. The compiled engine (`closures`) must give the same result,
gas, events and state for every program, and a generated-program test compares them.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from bdn.chain.contracts import gas
from bdn.chain.contracts.errors import CallFailure
from bdn.chain.contracts.front import syntax as S  # noqa: N812 - one letter keeps a match short
from bdn.chain.contracts.gas import charge
from bdn.chain.contracts.limits import MAX_ITEMS
from bdn.chain.contracts.machine import CallMachine
from bdn.chain.contracts.operations.builtins import BUILTINS
from bdn.chain.contracts.operations.methods import call_method
from bdn.chain.contracts.operations.operators import (
    BINARY,
    COMPARE,
    UNARY,
    build_dict,
    delete_index,
    get_index,
    get_slice,
    iterate,
    set_entry,
    set_index,
    unpack,
)
from bdn.chain.contracts.values import kind_of

NEXT, BREAK, CONTINUE, RETURN = range(4)
"""How a statement ends: go on to the next, leave the loop, repeat it, leave the function."""


class Walker:
    """Runs the functions of one module.

    Args:
        module: the checked contract.
        table: the prices.
    """

    def __init__(self, module: S.Module, table: gas.GasTable) -> None:
        self.module, self.table = module, table
        self._prices: dict[int, int] = {}  # by id of a node, which lives as long as the module

    def statement_price(self, node: S.Statement) -> int:
        """`gas.statement_price`, computed once."""
        price = self._prices.get(id(node))
        if price is None:
            price = self._prices[id(node)] = gas.statement_price(self.table, node)
        return price

    def iteration_price(self, node: S.For | S.Comprehension) -> int:
        """`gas.iteration_price`, computed once; beside a `For`'s own price, hence the sign."""
        price = self._prices.get(~id(node))
        if price is None:
            price = self._prices[~id(node)] = gas.iteration_price(self.table, node)
        return price

    def __call__(self, machine: CallMachine, function: str, args: Sequence[Any]) -> Any:
        """The result of ``function(*args)``."""
        declared = self.module.functions[function]
        names = dict(zip((p.name for p in declared.parameters), args, strict=True))
        frame = _Frame(self, machine, names)
        return frame.run(declared)


def evaluate(machine: CallMachine, module: S.Module, node: S.Expression) -> Any:
    """The value of an expression without variables; serves constants."""
    return _Frame(Walker(module, machine.table), machine, {}).value(node)


def check_kinds(kinds: S.Kinds, value: Any, what: str) -> None:
    """Fail unless ``value`` is of one of ``kinds``."""
    if kinds is not None and type(value) not in kinds:
        wanted = " | ".join(sorted(k.__name__.replace("NoneType", "None") for k in kinds))
        raise CallFailure("kind", what, wanted, kind_of(value))


class _Frame:
    """One call of one function: its variables."""

    def __init__(self, walker: Walker, machine: CallMachine, names: dict[str, Any]) -> None:
        self.walker, self.machine, self.names = walker, machine, names
        self.result: Any = None

    def run(self, function: S.Function) -> Any:
        for parameter in function.parameters:
            check_kinds(parameter.kinds, self.names[parameter.name], parameter.name)
        self.block(function.body)
        check_kinds(function.kinds, self.result, f"what {function.name} returns")
        return self.result

    # --- statements -----------------------------------------------------------------------------

    def block(self, body: tuple[S.Statement, ...]) -> int:
        for statement in body:
            end = self.statement(statement)
            if end != NEXT:
                return end
        return NEXT

    def statement(self, node: S.Statement) -> int:
        """Charge the statement's static price, then do it."""
        profiler = self.machine.profiler
        if profiler is not None:
            profiler.begin(self.machine.gas)
        try:
            self.begin(node)
            return _STATEMENTS[type(node)](self, node)
        except CallFailure as failure:
            if failure.line is None:
                failure.line, failure.contract = node.line, self.walker.module.name
            raise
        finally:
            if profiler is not None:
                profiler.end(self.walker.module.name, node.line, self.machine.gas)

    def begin(self, node: S.Statement) -> None:
        charge(self.machine, self.walker.statement_price(node))

    def assign(self, node: S.Assign) -> int:
        self.names[node.name] = self.value(node.value)
        return NEXT

    def unpack(self, node: S.Unpack) -> int:
        values = self.values(node.values)
        if len(values) == 1:
            values = unpack(values[0], len(node.names))
        self.names.update(zip(node.names, values, strict=True))
        return NEXT

    def set_index(self, node: S.SetIndex) -> int:
        m = self.machine
        value = None if node.operator else self.value(node.value)  # as in Python, the value first
        container, index = self.value(node.container), self.value(node.index)
        if node.operator:
            old = get_index(m, container, index)
            value = BINARY[node.operator](m, old, self.value(node.value))
        set_index(m, container, index, value)
        return NEXT

    def delete_index(self, node: S.DeleteIndex) -> int:
        delete_index(self.machine, self.value(node.container), self.value(node.index))
        return NEXT

    def storage_write(self, node: S.StorageWrite) -> int:
        m = self.machine
        value = None if node.operator else self.value(node.value)
        keys = self.values(node.keys)
        if node.operator:
            old = m.read(node.name, keys)
            value = BINARY[node.operator](m, old, self.value(node.value))
        m.write(node.name, keys, value)
        return NEXT

    def storage_delete(self, node: S.StorageDelete) -> int:
        self.machine.delete(node.name, self.values(node.keys))
        return NEXT

    def evaluate(self, node: S.Evaluate) -> int:
        self.value(node.value)
        return NEXT

    def require(self, node: S.Require) -> int:
        if not self.value(node.condition):
            self.machine.revert(self.value(node.message))
        return NEXT

    def emit(self, node: S.Emit) -> int:
        self.machine.emit(node.event, node.names, self.values(node.values))
        return NEXT

    def branch(self, node: S.If) -> int:
        return self.block(node.then if self.value(node.test) else node.other)

    def while_loop(self, node: S.While) -> int:
        while self.value(node.test):
            end = self.block(node.body)
            if end == RETURN:
                return RETURN
            if end == BREAK:
                break
            self.begin(node)  # every test is paid
        return NEXT

    def for_loop(self, node: S.For) -> int:
        m = self.machine
        price = self.walker.iteration_price(node)
        for item in iterate(m, self.value(node.iterable)):
            charge(m, price)
            self.bind(node.targets, item)
            end = self.block(node.body)
            if end == RETURN:
                return RETURN
            if end == BREAK:
                break
        return NEXT

    def return_value(self, node: S.Return) -> int:
        self.result = self.value(node.value)
        return RETURN

    def break_loop(self, node: S.Break) -> int:  # noqa: ARG002 - one signature for all statements
        return BREAK

    def continue_loop(self, node: S.Continue) -> int:  # noqa: ARG002 - as above
        return CONTINUE

    def nothing(self, node: S.Pass) -> int:  # noqa: ARG002 - as above
        return NEXT

    def bind(self, targets: tuple[str, ...], item: Any) -> None:
        if len(targets) == 1:
            self.names[targets[0]] = item
        else:
            self.names.update(zip(targets, unpack(item, len(targets)), strict=True))

    # --- expressions ----------------------------------------------------------------------------

    def value(self, node: S.Expression) -> Any:
        return _EXPRESSIONS[type(node)](self, node)

    def values(self, nodes: tuple[S.Expression, ...]) -> list[Any]:
        return [self.value(node) for node in nodes]

    def literal(self, node: S.Literal) -> Any:
        return node.value

    def local(self, node: S.Variable) -> Any:
        return self.names[node.name]

    def context_field(self, node: S.ContextField) -> Any:
        return self.machine.context[node.name]

    def list_of(self, node: S.ListOf) -> Any:
        return self.values(node.items)

    def dict_of(self, node: S.DictOf) -> Any:
        pairs = ((self.value(key), self.value(value))
                 for key, value in zip(node.keys, node.values, strict=True))
        return build_dict(self.machine, pairs)

    def unary(self, node: S.Unary) -> Any:
        return UNARY[node.operator](self.machine, self.value(node.operand))

    def binary(self, node: S.Binary) -> Any:
        return BINARY[node.operator](self.machine, self.value(node.left), self.value(node.right))

    def compare(self, node: S.Compare) -> Any:
        return COMPARE[node.operator](self.machine, self.value(node.left), self.value(node.right))

    def chain(self, node: S.Chain) -> Any:
        left = self.value(node.operands[0])
        for operator, operand in zip(node.operators, node.operands[1:], strict=True):
            right = self.value(operand)
            if not COMPARE[operator](self.machine, left, right):
                return False
            left = right
        return True

    def is_none(self, node: S.IsNone) -> Any:
        return (self.value(node.operand) is None) != node.negated

    def boolean(self, node: S.Boolean) -> Any:
        left = self.value(node.left)
        decided = not left if node.operator == "and" else left
        return left if decided else self.value(node.right)

    def conditional(self, node: S.Conditional) -> Any:
        return self.value(node.then if self.value(node.test) else node.other)

    def index(self, node: S.Index) -> Any:
        return get_index(self.machine, self.value(node.container), self.value(node.index))

    def slice(self, node: S.Slice) -> Any:
        container = self.value(node.container)
        start = None if node.start is None else self.value(node.start)
        stop = None if node.stop is None else self.value(node.stop)
        return get_slice(self.machine, container, start, stop)

    def comprehension(self, node: S.Comprehension) -> Any:
        m = self.machine
        price = self.walker.iteration_price(node)
        items: list[Any] = []
        entries: dict[Any, Any] = {}
        for item in iterate(m, self.value(node.iterable)):
            charge(m, price)
            self.bind(node.targets, item)
            if node.condition is not None and not self.value(node.condition):
                continue
            if node.key is None:
                items.append(self.value(node.element))
            else:
                key = self.value(node.key)
                set_entry(m, entries, key, self.value(node.element))
        if node.key is not None:
            return entries
        if len(items) > MAX_ITEMS:
            raise CallFailure("too-many", "list", MAX_ITEMS)
        return items

    def call_builtin(self, node: S.CallBuiltin) -> Any:
        return BUILTINS[node.name](self.machine, self.values(node.arguments))

    def call_method(self, node: S.CallMethod) -> Any:
        receiver = self.value(node.receiver)
        return call_method(self.machine, receiver, node.name, self.values(node.arguments))

    def call_private(self, node: S.CallPrivate) -> Any:
        return self.walker(self.machine, node.function, self.values(node.arguments))

    def call_contract(self, node: S.CallContract) -> Any:
        return self.machine.call_contract(node.contract, node.function,
                                          self.values(node.arguments))

    def call_host(self, node: S.CallHost) -> Any:
        return self.machine.call_host(node.name, self.values(node.arguments))

    def storage_read(self, node: S.StorageRead) -> Any:
        keys = self.values(node.keys)
        if node.default is None:
            return self.machine.read(node.name, keys)
        return self.machine.read_or(node.name, keys, self.value(node.default))

    def storage_has(self, node: S.StorageHas) -> Any:
        return self.machine.has(node.name, self.values(node.keys)) != node.negated


_STATEMENTS: Mapping[type, Callable[[_Frame, Any], int]] = {
    S.Assign: _Frame.assign, S.Unpack: _Frame.unpack, S.SetIndex: _Frame.set_index,
    S.DeleteIndex: _Frame.delete_index, S.StorageWrite: _Frame.storage_write,
    S.StorageDelete: _Frame.storage_delete, S.Evaluate: _Frame.evaluate,
    S.Require: _Frame.require, S.Emit: _Frame.emit, S.If: _Frame.branch,
    S.While: _Frame.while_loop, S.For: _Frame.for_loop, S.Return: _Frame.return_value,
    S.Break: _Frame.break_loop, S.Continue: _Frame.continue_loop, S.Pass: _Frame.nothing,
}

_EXPRESSIONS: Mapping[type, Callable[[_Frame, Any], Any]] = {
    S.Literal: _Frame.literal, S.Variable: _Frame.local, S.ContextField: _Frame.context_field,
    S.ListOf: _Frame.list_of, S.DictOf: _Frame.dict_of, S.Unary: _Frame.unary,
    S.Binary: _Frame.binary, S.Compare: _Frame.compare, S.Chain: _Frame.chain,
    S.IsNone: _Frame.is_none, S.Boolean: _Frame.boolean, S.Conditional: _Frame.conditional,
    S.Index: _Frame.index, S.Slice: _Frame.slice, S.Comprehension: _Frame.comprehension,
    S.CallBuiltin: _Frame.call_builtin, S.CallMethod: _Frame.call_method,
    S.CallPrivate: _Frame.call_private, S.CallContract: _Frame.call_contract,
    S.CallHost: _Frame.call_host, S.StorageRead: _Frame.storage_read,
    S.StorageHas: _Frame.storage_has,
}
