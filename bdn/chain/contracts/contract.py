"""A compiled contract and how it is called."""

from collections.abc import Mapping, Sequence
from typing import Any

from bdn.chain.contracts import gas as pricing
from bdn.chain.contracts.compiled.statements import Closures
from bdn.chain.contracts.errors import CallFailure, ContractError
from bdn.chain.contracts.front.lowering import CONTEXT_FIELDS
from bdn.chain.contracts.front.parser import parse
from bdn.chain.contracts.front.syntax import Expression, Module
from bdn.chain.contracts.limits import CONSTANT_GAS
from bdn.chain.contracts.machine import (
    CallMachine,
    ContractState,
    Engine,
    HostFunction,
    MemoryState,
    Profile,
)
from bdn.chain.contracts.operations.builtins import BUILTINS
from bdn.chain.contracts.operations.host import BUILT_IN_HOSTS
from bdn.chain.contracts.receipt import CallReceipt, Reason
from bdn.chain.contracts.values import check_value
from bdn.chain.contracts.walker import Walker, evaluate
from bdn.errors import UsageError, shown

ENGINES = ("closures", "walker")

_DEFAULTS: Mapping[str, Any] = {
    name: b"" if name in ("sender", "proposer", "parent") else
    "" if name in ("caller", "contract", "chain") else 0 for name in CONTEXT_FIELDS
}


def compile_contract(source: str, name: str = "contract", *,
                     gas_version: int = pricing.LATEST) -> "Contract":
    """Check ``source`` and make it callable.

    Args:
        source: the contract's text.
        name: under which other contracts know it.
        gas_version: the price table, as genesis fixes it.

    Raises:
        ContractError: a subclass that says what is wrong, with line and column.
        UsageError: an unknown gas version.
    """
    if not name.isidentifier() or not name.isascii():
        raise UsageError(f"a contract's name is an identifier, not {shown(name)}")
    table = pricing.gas_table(gas_version)
    empty = Module(name, "", "", {}, {}, {}, frozenset(), frozenset(), {})
    machine = CallMachine(CONSTANT_GAS, table, MemoryState(), {}, {}, {}, "walker")

    def constant(node: Expression) -> Any:
        try:
            return evaluate(machine, empty, node)
        except CallFailure as failure:
            reason = Reason(failure.code, tuple(map(str, failure.arguments)))
            raise ContractError(f"the constant cannot be computed: {reason}", node.line,
                                node.column, name) from failure

    return Contract(parse(source, name, constant, frozenset(BUILTINS),
                          frozenset(BUILT_IN_HOSTS)), table)


class Contract:
    """A checked contract with its engines.

    Attributes:
        module: its syntax.
        table: its gas prices.
    """

    def __init__(self, module: Module, table: pricing.GasTable) -> None:
        self.module, self.table = module, table
        self._engines: dict[str, Engine] = {}

    @property
    def name(self) -> str:
        """Under which other contracts know it."""
        return self.module.name

    def engine(self, name: str) -> Engine:
        """The engine ``name``, made when it is first asked for."""
        if name not in self._engines:
            if name == "closures":
                self._engines[name] = Closures(self.module, self.table)
            elif name == "walker":
                self._engines[name] = Walker(self.module, self.table)
            else:
                raise UsageError(f"there is no engine {shown(name)}: {' or '.join(ENGINES)}")
        return self._engines[name]

    def call(
        self, function: str, args: Sequence[Any] = (), *, gas: int, sender: bytes = b"",
        state: ContractState | None = None, context: Mapping[str, Any] | None = None,
        host: Mapping[str, HostFunction] | None = None, engine: str = "closures",
        contracts: Mapping[str, "Contract"] | None = None, profile: Profile | None = None,
    ) -> CallReceipt:
        """Call ``function`` as a transaction of ``sender`` does.

        Args:
            function: a ``@public`` or ``@view`` function.
            args: values of the language.
            gas: the most that the call may cost.
            sender: the transaction's signer.
            state: where storage lives; written only when the call succeeds. A fresh
                `MemoryState` by default.
            context: what ``context.…`` gives: chain, epoch, height, time, proposer, parent.
            host: host functions by name; they add to the built-in ones or replace them.
            engine: "closures" (fast) or "walker" (the specification); both give the same.
            contracts: the other contracts by name.
            profile: a dict in which gas is added up by (contract, line); implies the walker.

        Returns:
            The receipt. Whatever a transaction can ask for wrongly gives a receipt that is not ok.

        Raises:
            UsageError: what no transaction can cause: negative gas, an argument that is no value,
                an unknown context field, contracts with different gas tables.
        """
        if profile is not None:
            engine = "walker"
        machine = self._machine(gas, state, self._context(sender, context), host, engine,
                                contracts, profile)
        for number, arg in enumerate(args, 1):
            check_value(arg, f"argument {number}")
        try:
            result = machine.enter(self.name, function, args, "")
        except CallFailure as failure:
            return self._failed(failure, gas, machine)
        except RecursionError as error:
            raise UsageError("called with too little of Python's stack left; call from a "
                             "shallower place") from error
        machine.commit()
        return CallReceipt(True, result, gas - machine.gas, tuple(machine.events), "ok")

    def _machine(
        self, gas: int, state: ContractState | None, context: Mapping[str, Any],
        host: Mapping[str, HostFunction] | None, engine: str,
        contracts: Mapping[str, "Contract"] | None, profile: Profile | None,
    ) -> CallMachine:
        if type(gas) is not int or gas < 0:
            raise UsageError(f"gas is a number from 0, not {shown(gas)}")
        if engine not in ENGINES:
            raise UsageError(f"there is no engine {shown(engine)}: {' or '.join(ENGINES)}")
        known = {**(contracts or {}), self.name: self}
        for name, contract in known.items():
            if contract.table.version != self.table.version:
                raise UsageError(f"the contract {name} was compiled for another gas table")
            if contract.name != name:
                raise UsageError(f"the contract {contract.name} stands under the name {name}")
        hosts = {**BUILT_IN_HOSTS, **(host or {})}
        state = MemoryState() if state is None else state
        return CallMachine(gas, self.table, state, context, hosts, known, engine, profile)

    @staticmethod
    def _context(sender: bytes, context: Mapping[str, Any] | None) -> dict[str, Any]:
        fields = {**_DEFAULTS, **(context or {}), "sender": sender}
        unknown = fields.keys() - _DEFAULTS.keys()
        if unknown:
            raise UsageError(f"context has no {', '.join(sorted(unknown))}; it has "
                             f"{', '.join(CONTEXT_FIELDS)}")
        for name, value in fields.items():
            if type(value) is not type(_DEFAULTS[name]):
                raise UsageError(f"context.{name} is {type(_DEFAULTS[name]).__name__}, not "
                                 f"{type(value).__name__}")
            check_value(value, f"context.{name}")
        return fields

    def _failed(self, failure: CallFailure, gas: int, machine: CallMachine) -> CallReceipt:
        used = gas if failure.status == "out-of-gas" else gas - machine.gas
        return CallReceipt(False, None, used, (), failure.status, Reason.of(failure, self.name),
                           failure.detail)
