"""Checks on a whole contract: names assigned before use, no recursion, bounded stack, honest views.

All of them are decided before anything runs, so the engines need no check for them:

* every local is assigned on every path that leads to its use, and no statement is unreachable;
* the graph of calls between a contract's functions has no cycle, and the deepest chain of calls,
  weighed with the depth of the syntax tree at each call, is at most `MAX_STACK`;
* a ``@view`` function neither writes nor emits, also through the functions that it calls.
"""

from collections.abc import Iterator, Mapping
from dataclasses import fields
from typing import Any

from bdn.chain.contracts.errors import (
    ContractLimitError,
    ContractNameError,
    ContractSyntaxError,
)
from bdn.chain.contracts.front import syntax as S  # noqa: N812 - one letter keeps a match short
from bdn.chain.contracts.limits import MAX_STACK

MAX_SHOWN = 8
"""Functions that the message about a recursion names."""

Assigned = frozenset[str] | None
"""Names that are surely assigned; ``None`` where control never arrives."""


def check(module: S.Module) -> Mapping[str, int]:
    """Raise a `ContractError` for what is wrong with ``module`` as a whole.

    Returns the need of stack of each function.
    """
    for function in module.functions.values():
        _Assignment(module.name).function(function)
    order = _call_order(module)
    _check_views(module, order)
    return _stack(module, order)


def children(node: S.SyntaxNode) -> Iterator[S.SyntaxNode]:
    """The nodes directly below ``node``, in the order of the source."""
    for field in fields(node):
        value = getattr(node, field.name)
        if isinstance(value, S.SyntaxNode):
            yield value
        elif isinstance(value, tuple):
            yield from (item for item in value if isinstance(item, S.SyntaxNode))


def walk(node: S.SyntaxNode) -> Iterator[S.SyntaxNode]:
    """``node`` and everything below it."""
    yield node
    for child in children(node):
        yield from walk(child)


# --- assignment ---------------------------------------------------------------------------------


class _Assignment:
    """Definite assignment, as Java has it: a forward pass with intersection where paths meet."""

    def __init__(self, contract: str) -> None:
        self.contract = contract

    def function(self, function: S.Function) -> None:
        names = [parameter.name for parameter in function.parameters]
        self.block(function.body, frozenset(names))

    def block(self, body: tuple[S.Statement, ...], known: Assigned) -> Assigned:
        for statement in body:
            if known is None:
                raise ContractSyntaxError("this statement is never reached", statement.line,
                                          statement.column, self.contract)
            known = self.statement(statement, known)
        return known

    def statement(self, node: S.Statement, known: frozenset[str]) -> Assigned:
        match node:
            case S.Assign(name=name, value=value):
                self.uses(value, known)
                return known | {name}
            case S.Unpack(names=names, values=values):
                for value in values:
                    self.uses(value, known)
                return known | set(names)
            case S.If(test=test, then=then, other=other):
                self.uses(test, known)
                first, second = self.block(then, known), self.block(other, known)
                if first is None or second is None:
                    return second if first is None else first
                return first & second
            case S.While(test=test, body=body):
                self.uses(test, known)
                self.block(body, known)
                return known
            case S.For(targets=targets, iterable=iterable, body=body):
                self.uses(iterable, known)
                self.block(body, known | set(targets))
                return known
            case S.Return() | S.Break() | S.Continue():
                self.uses(node, known)
                return None
        self.uses(node, known)
        return known

    def uses(self, node: S.SyntaxNode, known: frozenset[str]) -> None:
        """Refuse a local that is not in ``known``."""
        if isinstance(node, S.Variable) and node.name not in known:
            name = node.name.partition("#")[0]
            raise ContractNameError(f"{name} may not have a value here", node.line, node.column,
                                    self.contract)
        if isinstance(node, S.Comprehension):
            self.uses(node.iterable, known)
            inner = known | set(node.targets)
            for part in (node.condition, node.key, node.element):
                if part is not None:
                    self.uses(part, inner)
            return
        for child in children(node):
            self.uses(child, known)


# --- calls --------------------------------------------------------------------------------------


def _call_order(module: S.Module) -> list[str]:
    """Function names, callees before callers; `ContractLimitError` for recursion."""
    order: dict[str, None] = {}
    open_calls: dict[str, None] = {}  # in the order of the calls

    def visit(name: str, node: S.SyntaxNode) -> None:
        if name in open_calls:
            calls = list(open_calls)
            path = " → ".join([*calls[calls.index(name):], name][-MAX_SHOWN:])
            raise ContractLimitError(f"there is no recursion: {path}", node.line, node.column,
                                     module.name)
        if name in order:
            return
        open_calls[name] = None
        for call in walk_all(module.functions[name]):
            if isinstance(call, S.CallPrivate):
                visit(call.function, call)
        del open_calls[name]
        order[name] = None

    for name, function in module.functions.items():
        visit(name, function)
    return list(order)


def walk_all(function: S.Function) -> Iterator[S.SyntaxNode]:
    """Every node of a function's body."""
    for statement in function.body:
        yield from walk(statement)


def _stack(module: S.Module, order: list[str]) -> Mapping[str, int]:
    need: dict[str, int] = {}

    def depth(node: Any) -> int:
        below = max((depth(child) for child in children(node)), default=0)
        called = need[node.function] if isinstance(node, S.CallPrivate) else 0
        return 1 + max(below, called)

    for name in order:
        function = module.functions[name]
        need[name] = 1 + max((depth(statement) for statement in function.body), default=0)
        if need[name] > MAX_STACK:
            raise ContractLimitError(
                f"{name} needs a stack of {need[name]} with all that it calls; the limit is "
                f"{MAX_STACK}", function.line, function.column, module.name)
    return need


def _check_views(module: S.Module, order: list[str]) -> None:
    changes: dict[str, str] = {}  # function -> what it does that a view may not
    for name in order:
        for node in walk_all(module.functions[name]):
            match node:
                case S.StorageWrite() | S.StorageDelete():
                    changes.setdefault(name, "writes to storage")
                case S.Emit():
                    changes.setdefault(name, "emits an event")
                case S.CallPrivate(function=callee) if callee in changes:
                    changes.setdefault(name, f"calls {callee}, which {changes[callee]}")
    for name, function in module.functions.items():
        if function.view and name in changes:
            raise ContractSyntaxError(f"a @view changes nothing, but {name} {changes[name]}",
                                      function.line, function.column, module.name)


# --- for the compiled engine --------------------------------------------------------------------


def variable_slots(function: S.Function) -> dict[str, int]:
    """Variable names to slots: parameters first, then the others as they appear."""
    names = [parameter.name for parameter in function.parameters]
    for node in walk_all(function):
        match node:
            case S.Assign(name=name):
                names.append(name)
            case S.Unpack(names=several):
                names.extend(several)
            case S.For(targets=targets) | S.Comprehension(targets=targets):
                names.extend(targets)
    return {name: slot for slot, name in enumerate(dict.fromkeys(names), 1)}


def may_leave(node: S.Statement) -> bool:
    """Whether the statement may end otherwise than by going on to the next one."""
    match node:
        case S.If(then=then, other=other):
            return any(map(may_leave, then + other))
        case S.While(body=body) | S.For(body=body):
            return any(map(_returns, body))
    return isinstance(node, (S.Break, S.Continue, S.Return))


def _returns(node: S.Statement) -> bool:
    match node:
        case S.If(then=then, other=other):
            return any(map(_returns, then + other))
        case S.While(body=body) | S.For(body=body):
            return any(map(_returns, body))
    return isinstance(node, S.Return)
