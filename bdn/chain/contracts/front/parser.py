"""From source to `syntax.Module`: declarations, functions, and the checks that need all of them.

A whitelist: every node of Python's tree is either translated here or in `lowering`, or refused
with its line and column. Nothing that is not translated can reach an engine.
"""

import ast
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from bdn.chain.contracts.errors import (
    ContractError,
    ContractLimitError,
    ContractNameError,
    ContractSyntaxError,
)
from bdn.chain.contracts.front import analysis
from bdn.chain.contracts.front.lowering import Lowering, Names
from bdn.chain.contracts.front.syntax import Expression, Function, Kinds, Module, Parameter, Storage
from bdn.chain.contracts.front.tokens import check_tokens
from bdn.chain.contracts.limits import MAX_ELIF, MAX_NODES, MAX_VARIABLES
from bdn.chain.contracts.values import KINDS
from bdn.errors import shown

Evaluate = Callable[[Expression], Any]

RESERVED = frozenset({"storage", "context", "require", "emit", "map", "contract", "host", "any",
                      "range", "public", "view", "only"})
"""Names with a meaning of their own."""

_KEY_KINDS = ("int", "str", "bytes")


def parse(source: str, name: str, evaluate_constant: Evaluate, builtins: frozenset[str],
          hosts: frozenset[str]) -> Module:
    """The checked contract ``name``; raises a `ContractError` subclass with the place.

    Args:
        source: the text.
        name: under which other contracts call it.
        evaluate_constant: computes a constant's expression (it holds literals and constants only).
        builtins, hosts: the names of the language's functions and of built-in host functions.
    """
    check_tokens(source, name)
    try:
        tree = ast.parse(source)
    except SyntaxError as error:
        raise ContractSyntaxError(
            error.msg, error.lineno or 1, max(error.offset or 1, 1), name) from error
    except (ValueError, MemoryError, RecursionError) as error:  # the tokens should prevent it
        raise ContractLimitError(f"Python cannot parse this: {error}", 1, 1, name) from error
    if sum(1 for _ in ast.walk(tree)) > MAX_NODES:
        raise ContractLimitError(f"a contract has at most {MAX_NODES} syntax nodes", 1, 1, name)
    return _Parser(source, name, evaluate_constant, builtins, hosts).module(tree)


class _Parser:
    def __init__(self, source: str, name: str, evaluate_constant: Evaluate,
                 builtins: frozenset[str], hosts: frozenset[str]) -> None:
        self.source, self.name, self.evaluate = source, name, evaluate_constant
        self.builtins, self.built_in_hosts = builtins, hosts
        self.constants: dict[str, Any] = {}
        self.storage: dict[str, Storage] = {}
        self.contracts: set[str] = set()
        self.hosts: set[str] = set()
        self.definitions: dict[str, ast.FunctionDef] = {}

    def module(self, tree: ast.Module) -> Module:
        body = tree.body
        documentation = ast.get_docstring(tree) or ""
        if body and _is_text(body[0]):
            body = body[1:]
        for statement in body:
            if isinstance(statement, ast.FunctionDef):
                self._new_name(statement.name, statement)
                self.definitions[statement.name] = statement
            elif isinstance(statement, ast.AnnAssign):
                self._declaration(statement)
            elif isinstance(statement, ast.Assign):
                self._constant(statement)
            else:
                raise self._refuse("the top level holds constants (NAME = …), declarations "
                                   "(name: type) and functions only", statement)
        signatures = {name: len(f.args.args) for name, f in self.definitions.items()}
        names = Names(self.constants, self.storage, frozenset(self.contracts),
                      frozenset(self.hosts) | self.built_in_hosts, signatures, self.builtins,
                      RESERVED)
        functions = {name: self._function(node, names) for name, node in self.definitions.items()}
        module = Module(self.name, self.source, documentation, self.constants, self.storage,
                        functions, frozenset(self.contracts), frozenset(self.hosts), {})
        return replace(module, stack=analysis.check(module))

    # --- declarations ---------------------------------------------------------------------------

    def _new_name(self, name: str, node: ast.AST) -> None:
        taken = (name in self.constants or name in self.definitions or name in self.contracts
                 or name in self.hosts or name in self.builtins or name in RESERVED
                 or name in KINDS)
        if taken:
            raise self._error(ContractNameError, f"the name {shown(name)} is taken already", node)
        if name.startswith("__"):
            raise self._error(ContractNameError, "names do not begin with two underscores", node)

    def _constant(self, node: ast.Assign) -> None:
        target = node.targets[0]
        if len(node.targets) != 1 or not isinstance(target, ast.Name):
            raise self._refuse("a constant is one name: NAME = …", node)
        if target.id != target.id.upper():
            raise self._error(ContractNameError, "a constant's name is written in capitals", target)
        self._new_name(target.id, target)
        names = Names(self.constants, {}, frozenset(), frozenset(), {}, frozenset(), frozenset())
        expression = Lowering(self.name, names).constant(node.value)
        try:
            value = self.evaluate(expression)
        except ContractError:
            raise
        except ValueError as error:
            raise self._refuse(f"the constant cannot be computed: {error}", node) from error
        if isinstance(value, (list, dict)):
            raise self._refuse("a constant is immutable: int, bool, str, bytes or None", node)
        self.constants[target.id] = value

    def _declaration(self, node: ast.AnnAssign) -> None:
        if not isinstance(node.target, ast.Name) or node.value is not None:
            raise self._refuse("a declaration is `name: type`, without a value", node)
        name, annotation = node.target.id, node.annotation
        if isinstance(annotation, ast.Name) and annotation.id in ("contract", "host"):
            if annotation.id == "host" and name in self.built_in_hosts:
                self.hosts.add(name)
                return
            self._new_name(name, node)
            (self.contracts if annotation.id == "contract" else self.hosts).add(name)
            return
        if name in self.storage:
            raise self._error(ContractNameError, f"storage.{name} is declared already", node)
        place = (node.lineno, node.col_offset + 1)
        if not isinstance(annotation, ast.Subscript):
            self.storage[name] = Storage(*place, name, (), self._value_kind(annotation))
            return
        if not isinstance(annotation.value, ast.Name) or annotation.value.id != "map":
            raise self._refuse("expected map[key, …, value] or a type's name", annotation)
        inner = annotation.slice
        parts = inner.elts if isinstance(inner, ast.Tuple) else [inner]
        if len(parts) < 2:
            raise self._refuse("a map names its key's types and its value's: map[bytes, int]",
                               annotation)
        keys = []
        for part in parts[:-1]:
            if not isinstance(part, ast.Name) or part.id not in _KEY_KINDS:
                raise self._refuse("a key is an int, str or bytes", part)
            keys.append(KINDS[part.id])
        self.storage[name] = Storage(*place, name, tuple(keys), self._value_kind(parts[-1]))

    def _value_kind(self, node: ast.expr) -> type | None:
        if isinstance(node, ast.Name) and node.id == "any":
            return None
        if isinstance(node, ast.Name) and node.id in KINDS:
            return KINDS[node.id]
        raise self._refuse("a stored type is int, bool, str, bytes, list, dict or any", node)

    # --- functions ------------------------------------------------------------------------------

    def _function(self, node: ast.FunctionDef, names: Names) -> Function:
        arguments = node.args
        if (arguments.posonlyargs or arguments.kwonlyargs or arguments.vararg or arguments.kwarg
                or arguments.defaults or getattr(node, "type_params", None)):
            raise self._refuse("parameters are plain names, with an annotation or without", node)
        parameters = tuple(
            Parameter(a.lineno, a.col_offset + 1, a.arg, self._kinds(a.annotation))
            for a in arguments.args)
        if len({parameter.name for parameter in parameters}) < len(parameters):
            raise self._refuse("parameters have distinct names", node)
        public, view, callers = self._decorators(node)
        body = node.body
        documentation = ast.get_docstring(node) or ""
        if _is_text(body[0]):
            body = body[1:]
        self._count_elif(node)
        lowering = Lowering(self.name, names)
        for parameter, argument in zip(parameters, arguments.args, strict=True):
            lowering.declare_parameter(parameter.name, argument)
        statements = lowering.block(body) if body else ()
        if len(lowering.variables) > MAX_VARIABLES:
            raise self._error(
                ContractLimitError, f"a function has at most {MAX_VARIABLES} variables", node)
        return Function(node.lineno, node.col_offset + 1, node.name, parameters,
                        self._kinds(node.returns), statements, public, view, callers,
                        documentation)

    def _decorators(self, node: ast.FunctionDef) -> tuple[bool, bool, frozenset[str]]:
        public = view = False
        callers: set[str] = set()
        for decorator in node.decorator_list:
            match decorator:
                case ast.Name(id="public"):
                    public = True
                case ast.Name(id="view"):
                    view = True
                case ast.Call(func=ast.Name(id="only"), args=[_, *_] as names, keywords=[]):
                    for name in names:
                        if not (isinstance(name, ast.Constant) and isinstance(name.value, str)):
                            raise self._refuse("@only names contracts: @only(\"mining\")", name)
                        callers.add(name.value)
                case _:
                    raise self._refuse("decorators are @public, @view and @only(\"contract\")",
                                       decorator)
        return public, view, frozenset(callers)

    def _kinds(self, node: ast.expr | None) -> Kinds:
        """The types that an annotation permits: ``int``, ``list | None``, ``any``."""
        match node:
            case None:
                return None
            case ast.Constant(value=None):
                return frozenset({type(None)})
            case ast.Name(id="any"):
                return None
            case ast.Name(id=name) if name in KINDS:
                return frozenset({KINDS[name]})
            case ast.BinOp(left=left, op=ast.BitOr(), right=right):
                first, second = self._kinds(left), self._kinds(right)
                return None if first is None or second is None else first | second
            case _:
                raise self._refuse("an annotation is int, bool, str, bytes, list, dict, None, any, "
                                   "or several of them joined by |", node)

    def _count_elif(self, function: ast.FunctionDef) -> None:
        for node in ast.walk(function):
            arms, arm = 0, node
            while isinstance(arm, ast.If) and len(arm.orelse) == 1:
                arms, arm = arms + 1, arm.orelse[0]
            if arms > MAX_ELIF:
                raise self._error(ContractLimitError, f"at most {MAX_ELIF} elif arms", node)

    # --- refusals -------------------------------------------------------------------------------

    def _error(self, cls: type[ContractError], reason: str, node: ast.AST) -> ContractError:
        line = getattr(node, "lineno", 1)
        return cls(reason, line, getattr(node, "col_offset", 0) + 1, self.name)

    def _refuse(self, reason: str, node: ast.AST | None) -> ContractError:
        return self._error(ContractSyntaxError, reason, node or ast.Module([], []))


def _is_text(node: ast.stmt) -> bool:
    return (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
            and isinstance(node.value.value, str))


