"""From Python's syntax tree to ours, node by node, or a refusal with its place.

This is the whitelist: a node of Python's tree that has no case here is not part of the language,
and nothing that is not translated can reach an engine.
"""

import ast
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bdn.chain.contracts.errors import ContractError, ContractNameError, ContractSyntaxError
from bdn.chain.contracts.front import syntax as S  # noqa: N812 - one letter keeps a translation's lines short
from bdn.chain.contracts.operations.builtins import ARITY
from bdn.chain.contracts.operations.methods import METHODS, MUTATING
from bdn.chain.contracts.values import check_value
from bdn.errors import UsageError, shown

CONTEXT_FIELDS = ("sender", "caller", "contract", "chain", "epoch", "height", "time", "proposer",
                  "parent")

_BINARY: dict[type[ast.AST], str] = {
    ast.Add: "+", ast.Sub: "-", ast.Mult: "*", ast.FloorDiv: "//", ast.Mod: "%", ast.Pow: "**",
    ast.LShift: "<<", ast.RShift: ">>", ast.BitAnd: "&", ast.BitOr: "|", ast.BitXor: "^",
}
_UNARY: dict[type[ast.AST], str] = {ast.USub: "-", ast.UAdd: "+", ast.Invert: "~", ast.Not: "not"}
_COMPARE: dict[type[ast.AST], str] = {
    ast.Eq: "==", ast.NotEq: "!=", ast.Lt: "<", ast.LtE: "<=", ast.Gt: ">", ast.GtE: ">=",
    ast.In: "in", ast.NotIn: "not in",
}


@dataclass(frozen=True, slots=True)
class Names:
    """What a name outside a function may mean. ``functions`` maps to the number of parameters."""

    constants: Mapping[str, Any]
    storage: Mapping[str, S.Storage]
    contracts: frozenset[str]
    hosts: frozenset[str]
    functions: Mapping[str, int]
    builtins: frozenset[str]
    reserved: frozenset[str]


class Lowering:
    """Translate one function's body, or one constant's expression.

    Args:
        contract: the contract's name, for refusals.
        names: what the names outside the function mean.
    """

    def __init__(self, contract: str, names: Names) -> None:
        self.contract, self.names = contract, names
        self.scopes: dict[str, str] = {}  # a comprehension's variable -> its unique local
        self.count = 0  # of comprehensions' variables, each of which is one of its own
        self.variables: set[str] = set()
        self.loops = 0  # around the statement that is translated

    # --- names ----------------------------------------------------------------------------------

    def targets(self, target: ast.expr) -> list[ast.Name]:
        items = target.elts if isinstance(target, ast.Tuple) else [target]
        names = [item for item in items if isinstance(item, ast.Name)]
        if len(names) < len(items) or len({name.id for name in names}) < len(names):
            raise self.refuse("the targets are distinct names", target)
        return names

    def declare_parameter(self, name: str, node: ast.arg) -> None:
        """Check a parameter's name."""
        self._check_local(name, node)
        self.variables.add(name)

    def new_local(self, node: ast.Name) -> str:
        self._check_local(node.id, node)
        self.variables.add(node.id)
        return node.id

    def _check_local(self, name: str, node: ast.AST) -> None:
        names = self.names
        if name.startswith("__"):
            raise self.refuse("names do not begin with two underscores", node, ContractNameError)
        if (name in names.constants or name in names.functions or name in names.contracts
                or name in names.hosts or name in names.builtins or name in names.reserved
                or name in self.scopes):
            raise self.refuse(
                f"the name {shown(name)} has another meaning; choose one of its own", node,
                ContractNameError)

    # --- statements -----------------------------------------------------------------------------

    def block(self, body: Sequence[ast.stmt]) -> tuple[S.Statement, ...]:
        """The statements of a block."""
        return tuple(self.statement(node) for node in body)

    def statement(self, node: ast.stmt) -> S.Statement:
        """One statement."""
        at = place(node)
        match node:
            case ast.Assign(targets=[target], value=value):
                return self._assign(node, target, value)
            case ast.AugAssign(target=target, op=op, value=value) if type(op) in _BINARY:
                return self._augmented(node, target, _BINARY[type(op)], value)
            case ast.Expr(value=ast.Call() as call):
                return self._call_statement(call)
            case ast.If(test=test, body=body, orelse=other):
                return S.If(*at, self.expression(test), self.block(body), self.block(other))
            case ast.While(test=test, body=body, orelse=[]):
                condition = self.expression(test)
                return S.While(*at, condition, self._loop(body))
            case ast.For(target=target, iter=iterable, body=body, orelse=[]):
                iterator = self.iterable(iterable)
                targets = tuple(self.new_local(name) for name in self.targets(target))
                return S.For(*at, targets, iterator, self._loop(body))
            case ast.Return(value=value):
                result = S.Literal(*at, None) if value is None else self.expression(value)
                return S.Return(*at, result)
            case ast.Delete(targets=[ast.Subscript() as target]):
                return self._delete(target)
            case ast.Break() if self.loops:
                return S.Break(*at)
            case ast.Continue() if self.loops:
                return S.Continue(*at)
            case ast.Pass():
                return S.Pass(*at)
            case _:
                raise self.refuse(
                    f"the statement {describe(node)} is not part of the language", node)

    def _loop(self, body: Sequence[ast.stmt]) -> tuple[S.Statement, ...]:
        self.loops += 1
        statements = self.block(body)
        self.loops -= 1
        return statements

    def _assign(self, node: ast.Assign, target: ast.expr, value: ast.expr) -> S.Statement:
        at = place(node)
        match target:
            case ast.Name():
                return S.Assign(*at, self.new_local(target), self.expression(value))
            case ast.Tuple():
                names = tuple(self.new_local(name) for name in self.targets(target))
                if isinstance(value, ast.Tuple):
                    values = tuple(self.expression(item) for item in value.elts)
                    if len(values) != len(names):
                        raise self.refuse(f"{len(names)} names for {len(values)} values", node)
                    return S.Unpack(*at, names, values)
                return S.Unpack(*at, names, (self.expression(value),))
        stored = self.stored(target)
        if stored is not None:
            return S.StorageWrite(*at, *stored, self.expression(value))
        if isinstance(target, ast.Subscript):
            container, index = self._element(target)
            return S.SetIndex(*at, container, index, self.expression(value))
        raise self.refuse("one assigns to a name, an item, or storage", target)

    def _augmented(self, node: ast.AugAssign, target: ast.expr, operator: str,
                   value: ast.expr) -> S.Statement:
        at = place(node)
        if isinstance(target, ast.Name):
            old = self.expression(target)
            if not isinstance(old, S.Variable):
                raise self.refuse("one assigns to a variable, not to a constant", target)
            return S.Assign(*at, old.name, S.Binary(*at, operator, old, self.expression(value)))
        stored = self.stored(target)
        if stored is not None:
            return S.StorageWrite(*at, *stored, self.expression(value), operator)
        if isinstance(target, ast.Subscript):
            container, index = self._element(target)
            return S.SetIndex(*at, container, index, self.expression(value), operator)
        raise self.refuse("one assigns to a name, an item, or storage", target)

    def _delete(self, target: ast.Subscript) -> S.Statement:
        stored = self.stored(target)
        if stored is not None:
            return S.StorageDelete(*place(target), *stored)
        return S.DeleteIndex(*place(target), *self._element(target))

    def _element(self, target: ast.Subscript) -> tuple[S.Expression, S.Expression]:
        if isinstance(target.slice, (ast.Slice, ast.Tuple)):
            raise self.refuse("one assigns to a single item", target)
        container = self.expression(target.value)
        self.not_stored(container, target)
        return container, self.expression(target.slice)

    def _call_statement(self, call: ast.Call) -> S.Statement:
        at = place(call)
        match call:
            case ast.Call(func=ast.Name(id="require"), args=[condition, message], keywords=[]):
                return S.Require(*at, self.expression(condition), self.expression(message))
            case ast.Call(func=ast.Name(id="emit"), args=[ast.Constant(value=str(event))]):
                fields = sorted(call.keywords, key=lambda keyword: keyword.arg or "")
                names = tuple(keyword.arg or "" for keyword in fields)
                if "" in names or len(set(names)) < len(names):
                    raise self.refuse("an event's fields are name=value, each name once", call)
                values = tuple(self.expression(keyword.value) for keyword in fields)
                return S.Emit(*at, event, names, values)
            case ast.Call(func=ast.Name(id="require" | "emit" as name)):
                form = {"require": 'require(condition, "message")',
                        "emit": 'emit("name", field=value, …)'}[name]
                raise self.refuse(f"the form is {form}", call)
        return S.Evaluate(*at, self.expression(call))

    # --- expressions ----------------------------------------------------------------------------

    def constant(self, node: ast.expr) -> S.Expression:
        """A constant's expression: literals, constants before it, operators."""
        allowed = (ast.Constant, ast.Name, ast.BinOp, ast.UnaryOp, ast.operator, ast.unaryop,
                   ast.expr_context)
        for part in ast.walk(node):
            if not isinstance(part, allowed) or (isinstance(part, ast.Name)
                                                 and part.id not in self.names.constants):
                raise self.refuse(
                    "a constant is made of literals, constants above it and operators", part)
        return self.expression(node)

    def expression(self, node: ast.expr) -> S.Expression:
        """One expression."""
        at = place(node)
        match node:
            case ast.Constant(value=value):
                return self._literal(node, value)
            case ast.Name(id=name):
                return self._name(node, name)
            case ast.BinOp(left=left, op=op, right=right) if type(op) in _BINARY:
                return S.Binary(*at, _BINARY[type(op)], self.expression(left),
                                self.expression(right))
            case ast.BinOp(op=ast.Div()):
                raise self.refuse("there are no fractions: use // for whole division", node)
            case ast.UnaryOp(ast.USub(), ast.Constant(int(number))) if type(number) is int:
                return S.Literal(*at, -number)
            case ast.UnaryOp(op=op, operand=operand):
                return S.Unary(*at, _UNARY[type(op)], self.expression(operand))
            case ast.BoolOp(op=op, values=values):
                operator = "and" if isinstance(op, ast.And) else "or"
                result = self.expression(values[0])
                for item in values[1:]:
                    result = S.Boolean(*at, operator, result, self.expression(item))
                return result
            case ast.Compare():
                return self._compare(node)
            case ast.IfExp(test=test, body=then, orelse=other):
                return S.Conditional(*at, self.expression(test), self.expression(then),
                                     self.expression(other))
        return self._compound(node)

    def _compound(self, node: ast.expr) -> S.Expression:
        """Containers, items and calls."""
        at = place(node)
        match node:
            case ast.List(elts=items):
                return S.ListOf(*at, self._all(items))
            case ast.Dict(keys=keys, values=values) if None not in keys:
                plain = [key for key in keys if key is not None]
                return S.DictOf(*at, self._all(plain), self._all(values))
            case ast.ListComp(elt=element, generators=[generator]):
                return self._comprehension(node, generator, None, element)
            case ast.DictComp(key=key, value=element, generators=[generator]):
                return self._comprehension(node, generator, key, element)
            case ast.Attribute() | ast.Subscript():
                return self._access(node)
            case ast.Call():
                return self._call(node)
            case _:
                raise self.refuse(f"{describe(node)} is not part of the language", node)

    def iterable(self, node: ast.expr) -> S.Expression:
        """What a loop walks over: a value, or ``range(…)``, which is no value elsewhere."""
        match node:
            case ast.Call(func=ast.Name(id="range"), args=arguments, keywords=[]):
                if not 1 <= len(arguments) <= 3:
                    raise self.refuse("range takes one to three arguments", node)
                return S.CallBuiltin(*place(node), "range", self._all(arguments))
        return self.expression(node)

    def _all(self, nodes: Sequence[ast.expr]) -> tuple[S.Expression, ...]:
        return tuple(self.expression(node) for node in nodes)

    def _literal(self, node: ast.expr, value: Any) -> S.Expression:
        try:
            check_value(value, "literal")
        except UsageError as error:
            raise self.refuse(str(error), node) from error
        return S.Literal(*place(node), value)

    def _name(self, node: ast.expr, name: str) -> S.Expression:
        if name in self.scopes:
            return S.Variable(*place(node), self.scopes[name])
        if name in self.names.constants:
            return S.Literal(*place(node), self.names.constants[name])
        for kind, group in (("a function", self.names.functions), ("a contract",
                            self.names.contracts), ("a host function", self.names.hosts),
                            ("a built-in", self.names.builtins | self.names.reserved)):
            if name in group:
                raise self.refuse(f"{name} is {kind}, which is no value", node, ContractNameError)
        return S.Variable(*place(node), name)

    def _compare(self, node: ast.Compare) -> S.Expression:
        at, first = place(node), node.left
        if len(node.ops) == 1:
            operation, right = node.ops[0], node.comparators[0]
            if isinstance(operation, (ast.Is, ast.IsNot)):
                if not (isinstance(right, ast.Constant) and right.value is None):
                    raise self.refuse("`is` compares with None only; use ==", node)
                return S.IsNone(*at, self.expression(first), isinstance(operation, ast.IsNot))
            if isinstance(operation, (ast.In, ast.NotIn)):
                stored = self._map_name(right)
                if stored is not None:
                    parts = first.elts if isinstance(first, ast.Tuple) else [first]
                    keys = self._keys(stored, parts, node)
                    return S.StorageHas(*at, stored, keys, isinstance(operation, ast.NotIn))
            return S.Compare(*at, _COMPARE[type(operation)], self.expression(first),
                             self.expression(right))
        operands = self._all([first, *node.comparators])
        operators = tuple(_COMPARE.get(type(op), "is") for op in node.ops)
        if not set(operators) <= {"<", "<=", ">", ">=", "==", "!="}:
            raise self.refuse("a chain is made of < <= > >= == != only", node)
        return S.Chain(*at, operators, operands)

    def _comprehension(self, node: ast.expr, generator: ast.comprehension, key: ast.expr | None,
                       element: ast.expr) -> S.Expression:
        if generator.is_async or len(generator.ifs) > 1:
            raise self.refuse("a comprehension has one `for` and at most one `if`", node)
        iterable = self.iterable(generator.iter)
        added = self.targets(generator.target)
        for target in added:
            self.new_local(target)
            self.count += 1
            self.scopes[target.id] = f"{target.id}#{self.count}"
            self.variables.add(self.scopes[target.id])
        targets = tuple(self.scopes[target.id] for target in added)
        condition = self.expression(generator.ifs[0]) if generator.ifs else None
        lowered_key = None if key is None else self.expression(key)
        result = S.Comprehension(*place(node), targets, iterable, condition, lowered_key,
                                 self.expression(element))
        for target in added:
            del self.scopes[target.id]
        return result

    # --- storage, context, items ----------------------------------------------------------------

    def _map_name(self, node: ast.expr) -> str | None:
        """The map's name when ``node`` is ``storage.map``."""
        match node:
            case ast.Attribute(value=ast.Name(id="storage"), attr=name):
                declaration = self.names.storage.get(name)
                if declaration is None:
                    raise self.refuse(f"storage.{name} is not declared", node, ContractNameError)
                return name if declaration.key_kinds else None
        return None

    def stored(self, node: ast.expr) -> tuple[str, tuple[S.Expression, ...]] | None:
        """(name, keys) when ``node`` is ``storage.cell`` or ``storage.map[keys]``."""
        match node:
            case ast.Attribute(value=ast.Name(id="storage"), attr=name):
                if self._map_name(node) is not None:
                    raise self.refuse(f"storage.{name} is a map: give a key", node)
                return name, ()
            case ast.Subscript(value=ast.Attribute() as base, slice=index):
                stored = self._map_name(base)
                if stored is not None:
                    parts = index.elts if isinstance(index, ast.Tuple) else [index]
                    return stored, self._keys(stored, parts, node)
        return None

    def _keys(
        self, name: str, parts: Sequence[ast.expr], node: ast.AST
    ) -> tuple[S.Expression, ...]:
        expected = len(self.names.storage[name].key_kinds)
        if len(parts) != expected:
            raise self.refuse(f"storage.{name} has {expected} key(s), not {len(parts)}", node)
        return self._all(parts)

    def _access(self, node: ast.Attribute | ast.Subscript) -> S.Expression:
        at, stored = place(node), self.stored(node)
        if stored is not None:
            return S.StorageRead(*at, *stored)
        if isinstance(node, ast.Attribute):
            match node.value:
                case ast.Name(id="context") if node.attr in CONTEXT_FIELDS:
                    return S.ContextField(*at, node.attr)
                case ast.Name(id="context"):
                    raise self.refuse(
                        f"context has {', '.join(CONTEXT_FIELDS)}", node, ContractNameError)
            raise self.refuse(
                f".{node.attr} is not part of the language: only methods can be called", node)
        container = self.expression(node.value)
        match node.slice:
            case ast.Slice(lower=lower, upper=upper, step=None):
                start = None if lower is None else self.expression(lower)
                stop = None if upper is None else self.expression(upper)
                return S.Slice(*at, container, start, stop)
            case ast.Slice() | ast.Tuple():
                raise self.refuse("an item is x[i], a part is x[start:stop]", node)
        return S.Index(*at, container, self.expression(node.slice))

    def not_stored(self, node: S.Expression, place: ast.AST) -> None:
        """Refuse to change what was just read from storage: it is a copy, the change is lost."""
        while isinstance(node, S.Index):
            node = node.container
        if isinstance(node, S.StorageRead):
            raise self.refuse(
                "what is read from storage is a copy: read it, change it, write it back", place)

    # --- calls ----------------------------------------------------------------------------------

    def _call(self, node: ast.Call) -> S.Expression:
        at, function = place(node), node.func
        if any(isinstance(argument, ast.Starred) for argument in node.args):
            raise self.refuse("arguments are listed one by one", node)
        if isinstance(function, ast.Attribute):
            return self._call_attribute(node, function)
        if not isinstance(function, ast.Name):
            raise self.refuse("only named functions and methods can be called", node)
        name, names = function.id, self.names
        if name == "sorted":
            return self._call_sorted(node)
        if node.keywords:
            raise self.refuse("arguments are given by position", node)
        if name in names.functions:
            if len(node.args) != names.functions[name]:
                raise self.refuse(
                    f"{name} takes {names.functions[name]} argument(s), not "
                    f"{len(node.args)}", node)
            return S.CallPrivate(*at, name, self._all(node.args))
        if name in names.hosts:
            return S.CallHost(*at, name, self._all(node.args))
        if name == "range":
            raise self.refuse("range(…) stands in a for only; list() cannot be made of it", node)
        if name in names.builtins:
            self._arity(name, ARITY[name], node)
            return S.CallBuiltin(*at, name, self._all(node.args))
        raise self.refuse(f"there is no function {shown(name)}", node, ContractNameError)

    def _call_sorted(self, node: ast.Call) -> S.Expression:
        reverse = False
        for keyword in node.keywords:
            if (keyword.arg != "reverse" or not isinstance(keyword.value, ast.Constant)
                    or not isinstance(keyword.value.value, bool)):
                raise self.refuse(
                    "sorted takes reverse=True or reverse=False, and nothing else", node)
            reverse = keyword.value.value
        self._arity("sorted", (1, 1), node)
        order = S.Literal(*place(node), reverse)
        return S.CallBuiltin(*place(node), "sorted", (self.expression(node.args[0]), order))

    def _call_attribute(self, node: ast.Call, function: ast.Attribute) -> S.Expression:
        at, name = place(node), function.attr
        if node.keywords:
            raise self.refuse("arguments are given by position", node)
        match function.value:
            case ast.Name(id=contract) if contract in self.names.contracts:
                return S.CallContract(*at, contract, name, self._all(node.args))
        stored = self._map_name(function.value)
        if stored is not None:
            keys = len(self.names.storage[stored].key_kinds)
            if name != "get" or len(node.args) != keys + 1:
                raise self.refuse(f"a map has .get({'key, ' * keys}default) only", node)
            return S.StorageRead(*at, stored, self._all(node.args[:keys]),
                                 self.expression(node.args[keys]))
        if name not in METHODS:
            raise self.refuse(f"there is no method .{name}()", node, ContractNameError)
        self._arity(f".{name}", METHODS[name].arity, node)
        receiver = self.expression(function.value)
        if name in MUTATING:
            self.not_stored(receiver, node)
        return S.CallMethod(*at, receiver, name, self._all(node.args))

    def _arity(self, name: str, arity: tuple[int, int], node: ast.Call) -> None:
        least, most = arity
        if not least <= len(node.args) <= most:
            count = str(least) if least == most else f"{least} to {most}"
            raise self.refuse(f"{name} takes {count} argument(s), not {len(node.args)}", node)

    def refuse(self, reason: str, node: ast.AST,
                cls: type[ContractError] = ContractSyntaxError) -> ContractError:
        """The refusal of ``node``, to be raised."""
        line, column = getattr(node, "lineno", 1), getattr(node, "col_offset", 0) + 1
        return cls(reason, line, column, self.contract)


def place(node: ast.stmt | ast.expr) -> tuple[int, int]:
    return node.lineno, node.col_offset + 1


def describe(node: ast.AST) -> str:
    """A readable name of a kind of node: ``Lambda`` -> "lambda"."""
    return type(node).__name__.lower()
