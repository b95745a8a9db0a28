"""The engine that runs: each node of a contract becomes a Python closure, once.

A statement's closure takes ``(m, f)``: the machine and the frame, a list of the function's
variables by slot (slot 0 holds the result). It charges its static price, works, and returns
nothing, or a signal: `BREAK`, `CONTINUE`, `RETURN`. Expressions are in `expressions`.

It must agree with the walker in result, gas, events and state for every program. It is about four
times as fast because names are slots, prices are constants, and statements that cannot signal are
run without looking. The commonest operands, such as small integers, take a direct way
(`shortcuts`); everything else goes to the same `operations` as in the walker.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

from bdn.chain.contracts import gas as pricing
from bdn.chain.contracts.compiled.expressions import Compiled, Expressions
from bdn.chain.contracts.compiled.shortcuts import Code, setter
from bdn.chain.contracts.errors import CallFailure, OutOfGas
from bdn.chain.contracts.front import syntax as S  # noqa: N812 - short in a match
from bdn.chain.contracts.front.analysis import may_leave, variable_slots
from bdn.chain.contracts.machine import CallMachine
from bdn.chain.contracts.operations.operators import (
    BINARY,
    delete_index,
    get_index,
    iterate,
    set_index,
    unpack,
)
from bdn.chain.contracts.walker import check_kinds

Step = Callable[[CallMachine, list[Any]], Any]
"""A statement's or block's closure."""

BREAK, CONTINUE, RETURN = 1, 2, 3
"""Signals; a statement that just ends returns ``None``."""


class Closures:
    """All functions of one module, compiled.

    Args:
        module: the checked contract.
        table: the gas prices, which are baked in.
    """

    def __init__(self, module: S.Module, table: pricing.GasTable) -> None:
        self.module, self.table = module, table
        self._functions: dict[str, Compiled] = {}
        for name in module.functions:
            self.function(name)

    def __call__(self, machine: CallMachine, function: str, args: Sequence[Any]) -> Any:
        """The result of ``function(*args)``."""
        return self._functions[function](machine, args)

    def function(self, name: str) -> Compiled:
        """``name`` as a callable of (machine, arguments); there is no recursion to fear."""
        if name not in self._functions:
            self._functions[name] = self._compile(self.module.functions[name])
        return self._functions[name]

    def _compile(self, function: S.Function) -> Compiled:
        slots = variable_slots(function)
        body = _Statements(self, slots).block(function.body)
        spare = [None] * (len(slots) + 1 - len(function.parameters))
        checks = [(at, p.kinds, p.name) for at, p in enumerate(function.parameters)
                  if p.kinds is not None]
        kinds, what = function.kinds, f"what {function.name} returns"

        def run(m: CallMachine, args: Sequence[Any]) -> Any:
            for at, expected, name in checks:
                if type(args[at]) not in expected:
                    check_kinds(expected, args[at], name)
            f = [None, *args, *spare]
            body(m, f)
            if kinds is not None and type(f[0]) not in kinds:
                check_kinds(kinds, f[0], what)
            return f[0]

        return run


def _placed(contract: str, line: int, failure: CallFailure) -> CallFailure:
    """``failure``, told where it happened unless a statement inside has done so."""
    if failure.line is None:
        failure.line, failure.contract = line, contract
    return failure


class _Parts(NamedTuple):
    """What each statement's closure begins with."""

    price: int
    placed: Callable[[CallFailure], CallFailure]


class _Statements:
    """Compiles the statements of one function."""

    def __init__(self, engine: Closures, slots: Mapping[str, int]) -> None:
        self.table, self.slots = engine.table, slots
        self.contract = engine.module.name
        expressions = Expressions(engine.table, slots, engine.function)
        self.value, self.values = expressions.compile, expressions.compile_all

    def parts(self, node: S.Statement) -> _Parts:
        price = pricing.statement_price(self.table, node)
        return _Parts(price, partial(_placed, self.contract, node.line))

    # --- blocks ---------------------------------------------------------------------------------

    def block(self, body: tuple[S.Statement, ...]) -> Step:
        steps = tuple(_STATEMENTS[type(node)](self, node) for node in body)
        if len(steps) == 1:
            return steps[0]
        if any(map(may_leave, body)):
            return _watched(steps)
        if len(steps) == 2:
            return _pair(*steps)
        return _straight(steps)

    # --- simple statements ----------------------------------------------------------------------

    def assign(self, node: S.Assign) -> Step:
        price, placed = self.parts(node)
        slot, value = self.slots[node.name], self.value(node.value)

        def run(m: CallMachine, f: list[Any]) -> None:
            try:
                m.gas = left = m.gas - price
                if left < 0:
                    raise OutOfGas()
                f[slot] = value(m, f)
            except CallFailure as failure:
                raise placed(failure)  # noqa: B904 - the same failure, with its place

        return run

    def unpack(self, node: S.Unpack) -> Step:
        slots, values = [self.slots[name] for name in node.names], self.values(node.values)
        count = len(slots)

        def work(m: CallMachine, f: list[Any]) -> None:
            results = [value(m, f) for value in values]
            if len(results) == 1:
                results = unpack(results[0], count)
            for slot, result in zip(slots, results, strict=True):
                f[slot] = result

        return self.charged(node, work)

    def set_index(self, node: S.SetIndex) -> Step:
        container, index = self.value(node.container), self.value(node.index)
        value = self.value(node.value)
        if node.operator is not None:
            operation = BINARY[node.operator]

            def update(m: CallMachine, f: list[Any]) -> None:
                c, i = container(m, f), index(m, f)
                old = get_index(m, c, i)
                set_index(m, c, i, operation(m, old, value(m, f)))

            return self.charged(node, update)
        price, placed = self.parts(node)
        put = setter(self.table)

        def run(m: CallMachine, f: list[Any]) -> None:
            try:
                m.gas = left = m.gas - price
                if left < 0:
                    raise OutOfGas()
                new = value(m, f)
                put(m, container(m, f), index(m, f), new)
            except CallFailure as failure:
                raise placed(failure)  # noqa: B904 - the same failure, with its place

        return run

    def delete_index(self, node: S.DeleteIndex) -> Step:
        container, index = self.value(node.container), self.value(node.index)
        return self.charged(node, lambda m, f: delete_index(m, container(m, f), index(m, f)))

    def storage_write(self, node: S.StorageWrite) -> Step:
        name, keys, value = node.name, self.values(node.keys), self.value(node.value)

        def set_to(m: CallMachine, f: list[Any]) -> None:
            new = value(m, f)
            m.write(name, [key(m, f) for key in keys], new)

        if node.operator is None:
            return self.charged(node, set_to)
        operation = BINARY[node.operator]

        def update(m: CallMachine, f: list[Any]) -> None:
            places = [key(m, f) for key in keys]
            old = m.read(name, places)
            m.write(name, places, operation(m, old, value(m, f)))

        return self.charged(node, update)

    def storage_delete(self, node: S.StorageDelete) -> Step:
        name, keys = node.name, self.values(node.keys)
        return self.charged(node, lambda m, f: m.delete(name, [key(m, f) for key in keys]))

    def evaluate(self, node: S.Evaluate) -> Step:
        price, placed = self.parts(node)
        value = self.value(node.value)

        def run(m: CallMachine, f: list[Any]) -> None:
            try:
                m.gas = left = m.gas - price
                if left < 0:
                    raise OutOfGas()
                value(m, f)
            except CallFailure as failure:
                raise placed(failure)  # noqa: B904 - the same failure, with its place

        return run

    def require(self, node: S.Require) -> Step:
        condition, message = self.value(node.condition), self.value(node.message)

        def work(m: CallMachine, f: list[Any]) -> None:
            if not condition(m, f):
                m.revert(message(m, f))

        return self.charged(node, work)

    def emit(self, node: S.Emit) -> Step:
        event, names, values = node.event, node.names, self.values(node.values)
        return self.charged(node, lambda m, f: m.emit(event, names, [v(m, f) for v in values]))

    def charged(self, node: S.Statement, work: Step) -> Step:
        """``work`` after the statement's price: for statements that do much themselves."""
        price, placed = self.parts(node)

        def run(m: CallMachine, f: list[Any]) -> Any:
            try:
                pricing.charge(m, price)
                return work(m, f)
            except CallFailure as failure:
                raise placed(failure)  # noqa: B904 - the same failure, with its place

        return run

    # --- control --------------------------------------------------------------------------------

    def branch(self, node: S.If) -> Step:
        price, placed = self.parts(node)
        test, then = self.value(node.test), self.block(node.then)
        other = self.block(node.other) if node.other else _nothing

        def run(m: CallMachine, f: list[Any]) -> Any:
            try:
                m.gas = left = m.gas - price
                if left < 0:
                    raise OutOfGas()
                return then(m, f) if test(m, f) else other(m, f)
            except CallFailure as failure:
                raise placed(failure)  # noqa: B904 - the same failure, with its place

        return run

    def while_loop(self, node: S.While) -> Step:
        price, placed = self.parts(node)
        test, body = self.value(node.test), self.block(node.body)

        def run(m: CallMachine, f: list[Any]) -> Any:
            try:
                while True:
                    m.gas = left = m.gas - price
                    if left < 0:
                        raise OutOfGas()
                    if not test(m, f):
                        return None
                    signal = body(m, f)
                    if signal:
                        if signal == RETURN:
                            return RETURN
                        if signal == BREAK:
                            return None
            except CallFailure as failure:
                raise placed(failure)  # noqa: B904 - the same failure, with its place

        return run

    def for_loop(self, node: S.For) -> Step:
        iterable, body = self.value(node.iterable), self.block(node.body)
        each = pricing.iteration_price(self.table, node)
        slots = [self.slots[name] for name in node.targets]
        if len(slots) == 1 and not any(map(may_leave, node.body)):
            return self.charged(node, _plain_loop(iterable, body, each, slots[0]))
        return self.charged(node, _full_loop(iterable, body, each, slots))

    def return_value(self, node: S.Return) -> Step:
        value = self.value(node.value)

        def work(m: CallMachine, f: list[Any]) -> int:
            f[0] = value(m, f)
            return RETURN

        return self.charged(node, work)

    def signal(self, node: S.Break | S.Continue) -> Step:
        result = BREAK if isinstance(node, S.Break) else CONTINUE
        return self.charged(node, lambda m, f: result)  # noqa: ARG005 - a step's signature

    def nothing(self, node: S.Pass) -> Step:
        return self.charged(node, _nothing)


def _nothing(m: CallMachine, f: list[Any]) -> None:
    """An absent `else`."""


def _plain_loop(iterable: Code, body: Step, each: int, slot: int) -> Step:
    """A `for` with one target whose body never leaves it."""

    def loop(m: CallMachine, f: list[Any]) -> None:
        for item in iterate(m, iterable(m, f)):
            m.gas = left = m.gas - each
            if left < 0:
                raise OutOfGas()
            f[slot] = item
            body(m, f)

    return loop


def _full_loop(iterable: Code, body: Step, each: int, slots: list[int]) -> Step:
    """Any `for`."""
    first, count = slots[0], len(slots)

    def loop(m: CallMachine, f: list[Any]) -> Any:
        for item in iterate(m, iterable(m, f)):
            m.gas = left = m.gas - each
            if left < 0:
                raise OutOfGas()
            if count == 1:
                f[first] = item
            else:
                for slot, part in zip(slots, unpack(item, count), strict=True):
                    f[slot] = part
            signal = body(m, f)
            if signal == RETURN:
                return RETURN
            if signal == BREAK:
                return None
        return None

    return loop


def _pair(first: Step, second: Step) -> Step:
    def run(m: CallMachine, f: list[Any]) -> None:
        first(m, f)
        second(m, f)

    return run


def _straight(steps: tuple[Step, ...]) -> Step:
    def run(m: CallMachine, f: list[Any]) -> None:
        for step in steps:
            step(m, f)

    return run


def _watched(steps: tuple[Step, ...]) -> Step:
    def run(m: CallMachine, f: list[Any]) -> Any:
        for step in steps:
            signal = step(m, f)
            if signal:
                return signal
        return None

    return run


_STATEMENTS: Mapping[type, Callable[[_Statements, Any], Step]] = {
    S.Assign: _Statements.assign, S.Unpack: _Statements.unpack,
    S.SetIndex: _Statements.set_index, S.DeleteIndex: _Statements.delete_index,
    S.StorageWrite: _Statements.storage_write, S.StorageDelete: _Statements.storage_delete,
    S.Evaluate: _Statements.evaluate, S.Require: _Statements.require, S.Emit: _Statements.emit,
    S.If: _Statements.branch, S.While: _Statements.while_loop, S.For: _Statements.for_loop,
    S.Return: _Statements.return_value, S.Break: _Statements.signal,
    S.Continue: _Statements.signal, S.Pass: _Statements.nothing,
}
