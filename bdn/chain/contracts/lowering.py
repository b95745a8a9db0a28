"""Statements: from Python's tree to ours, node by node, or a refusal."""

import ast
from collections.abc import Sequence

from bdn.chain.contracts import syntax as S  # noqa: N812 - one letter keeps a translation's lines short
from bdn.chain.contracts.lowering_expressions import (
    BINARY,
    ExpressionLowering,
    Names,
    describe,
    place,
)


class Lowering(ExpressionLowering):
    """Translates one function's body (or one constant's expression)."""

    def __init__(self, contract: str, names: Names) -> None:
        super().__init__(contract, names)
        self.loops = 0

    def block(self, body: Sequence[ast.stmt]) -> tuple[S.Statement, ...]:
        """The statements of a block."""
        return tuple(self.statement(node) for node in body)

    def statement(self, node: ast.stmt) -> S.Statement:
        """One statement."""
        at = place(node)
        match node:
            case ast.Assign(targets=[target], value=value):
                return self._assign(node, target, value)
            case ast.AugAssign(target=target, op=op, value=value) if type(op) in BINARY:
                return self._augmented(node, target, BINARY[type(op)], value)
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
            if not isinstance(old, S.Local):
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
