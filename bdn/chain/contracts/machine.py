"""What surrounds a running contract: gas, the journal of writes, events, context, other contracts.

A `CallMachine` lives for one call from outside. Writes and events stay in it until the call has
ended well; then they are applied at once. A failure anywhere drops it whole: that is all there is
to atomic revert.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NoReturn, Protocol

from bdn.chain.contracts.errors import CallFailure, CallRefused, CallReverted
from bdn.chain.contracts.front.syntax import Function, Module, Storage
from bdn.chain.contracts.gas import GasTable, charge
from bdn.chain.contracts.limits import MAX_STACK, MAX_TEXT
from bdn.chain.contracts.operations import sizes
from bdn.chain.contracts.receipt import CallEvent
from bdn.chain.contracts.values import (
    check_value,
    encode_value,
    kind_of,
    read_value,
    storage_key,
    text_is_ascii,
)
from bdn.errors import BdnError, IntegrityError, UsageError, shown

# --- what the outside provides ------------------------------------------------------------------


class ContractState(Protocol):
    """The ledger's key-value state, one space of keys for each contract."""

    def get(self, contract: str, key: bytes) -> bytes | None:
        """The stored bytes, or ``None``."""

    def put(self, contract: str, key: bytes, value: bytes | None) -> None:
        """Store ``value``; ``None`` removes the key."""


class MemoryState:
    """A state in a dict, for tests and tools."""

    def __init__(self) -> None:
        self.entries: dict[tuple[str, bytes], bytes] = {}

    def get(self, contract: str, key: bytes) -> bytes | None:
        """The stored bytes, or ``None``."""
        return self.entries.get((contract, key))

    def put(self, contract: str, key: bytes, value: bytes | None) -> None:
        """Store ``value``; ``None`` removes the key."""
        if value is None:
            self.entries.pop((contract, key), None)
        else:
            self.entries[contract, key] = value


class HostFunction(Protocol):
    """Work that the node does for a contract: priced by formula, charged, then done.

    Both methods must be functions of the arguments (and of what the chain fixes), nothing else; the
    numbers in the price come from the gas table. They may raise a `BdnError`, which fails the call.
    They must not change what they are given. A price that is no number from 0 and a result that is
    no value of the language are this node's own mistakes: `UsageError`, and no receipt.
    """

    def price(self, args: Sequence[Any], table: GasTable) -> int:
        """Return the gas that ``__call__`` costs by ``table``; quick, whatever the arguments."""

    def __call__(self, args: Sequence[Any]) -> Any:
        """The result: a value of the language."""


class Engine(Protocol):
    """Runs one function of one contract."""

    def __call__(self, machine: "CallMachine", function: str, args: Sequence[Any]) -> Any:
        """The function's result."""


class Runnable(Protocol):
    """A compiled contract, as the machine sees it."""

    module: Module

    def engine(self, name: str) -> Engine:
        """The engine called ``name`` over this contract."""


Profile = dict[tuple[str, int], int]
"""Gas by (contract, line)."""


class Profiler:
    """Adds up, by line, what statements charge themselves, without the statements inside them."""

    def __init__(self, profile: Profile) -> None:
        self.profile = profile
        self._open: list[list[int]] = []  # of each open statement: gas before it, charged inside

    def begin(self, gas: int) -> None:
        """A statement begins with ``gas`` left."""
        self._open.append([gas, 0])

    def end(self, contract: str, line: int, gas: int) -> None:
        """The last statement begun ends with ``gas`` left."""
        before, inside = self._open.pop()
        total = before - gas
        place = (contract, line)
        self.profile[place] = self.profile.get(place, 0) + total - inside
        if self._open:
            self._open[-1][1] += total


# --- the machine --------------------------------------------------------------------------------

_ZERO: dict[type | None, Callable[[], Any]] = {
    int: int, bool: bool, str: str, bytes: bytes, list: list, dict: dict,
}


class CallMachine:
    """The state of one call from outside.

    Attributes:
        gas: what is left.
        table: the prices.
        context: what ``context.…`` gives at this moment.
        writes: the journal, by (contract, key); ``None`` marks a removal.
        events: emitted so far.
        profiler: adds up gas by line, if anybody asked for it.
    """

    __slots__ = ("_context", "_contracts", "_depth", "_engine", "_hosts", "_stack", "_state",
                 "_view", "context", "contract", "events", "gas", "profiler", "storage", "table",
                 "writes")

    def __init__(self, gas: int, table: GasTable, state: ContractState, context: Mapping[str, Any],
                 hosts: Mapping[str, HostFunction], contracts: Mapping[str, Runnable],
                 engine: str, profile: Profile | None = None) -> None:
        self.gas, self.table, self._state = gas, table, state
        self._context, self._hosts = context, hosts
        self._contracts, self._engine = contracts, engine
        self.writes: dict[tuple[str, bytes], bytes | None] = {}
        self.events: list[CallEvent] = []
        self.profiler = None if profile is None else Profiler(profile)
        self._stack: list[str] = []
        self._view = False
        self._depth = 0
        self.contract = ""
        self.context: dict[str, Any] = {}
        self.storage: Mapping[str, Storage] = {}

    # --- calls ----------------------------------------------------------------------------------

    def enter(self, contract: str, function: str, args: Sequence[Any], caller: str) -> Any:
        """Run a function for a transaction (``caller`` "") or for the contract ``caller``."""
        # charge
        charge(self, self.table.call)
        # arguments
        target = self._contracts[contract]
        declared = target.module.functions.get(function)
        if declared is None or not _permitted(declared, caller):
            raise CallRefused("no-function", contract, function,
                              f"the contract {caller}" if caller else "a transaction")
        if self._view and not declared.view:
            raise CallRefused("no-view", contract, function)
        if len(args) != len(declared.parameters):
            raise CallRefused("arity", function, len(declared.parameters), len(args))
        if contract in self._stack:
            raise CallRefused("re-entrancy", contract)
        need = target.module.stack[function]
        if self._depth + need > MAX_STACK:
            raise CallRefused("stack", contract, function)
        # effect
        copies = [sizes.copy(self, arg) for arg in args]
        saved = (self.contract, self.context, self.storage, self._view)
        self._stack.append(contract)
        self._depth += need
        self.contract, self.storage = contract, target.module.storage
        self.context = {**self._context, "caller": caller, "contract": contract}
        self._view = self._view or declared.view
        result = target.engine(self._engine)(self, function, copies)
        self.contract, self.context, self.storage, self._view = saved
        self._stack.pop()
        self._depth -= need
        if not caller:
            self._charge_written(result)  # a receipt is kept as long as an event
        return sizes.copy(self, result)

    def call_contract(self, contract: str, function: str, args: Sequence[Any]) -> Any:
        """``contract.function(args)`` from within the running contract."""
        if contract not in self._contracts:
            raise CallRefused("not-deployed", contract)
        return self.enter(contract, function, args, self.contract)

    def call_host(self, name: str, args: Sequence[Any]) -> Any:
        """``name(args)``: price, charge, call."""
        host = self._hosts.get(name)
        if host is None:
            raise CallFailure("no-host", name)
        price = _from_host(name, lambda args: host.price(args, self.table), args)
        if type(price) is not int or price < 0:
            raise UsageError(f"the host function {name} has the price {shown(price)}")
        charge(self, price)
        result = _from_host(name, host, args)
        check_value(result, f"the result of {name}")
        return result

    # --- storage --------------------------------------------------------------------------------

    def _key(self, name: str, keys: Sequence[Any]) -> bytes:
        for key, kind in zip(keys, self.storage[name].key_kinds, strict=True):
            if type(key) is not kind:
                raise CallFailure("key-kind", name, kind.__name__, kind_of(key))
            sizes.scan(self, sizes.len_of(key))
        return storage_key(name, *keys)

    def _load(self, key: bytes) -> bytes | None:
        place = (self.contract, key)
        if place in self.writes:
            return self.writes[place]
        return self._state.get(self.contract, key)

    def read(self, name: str, keys: Sequence[Any]) -> Any:
        """``storage.name`` or ``storage.name[keys]``."""
        data = self._load(self._key(name, keys))
        if data is not None:
            return self._decoded(data)
        if keys:
            raise CallFailure("no-storage-key", name)
        zero = _ZERO.get(self.storage[name].kind)
        return None if zero is None else zero()

    def read_or(self, name: str, keys: Sequence[Any], default: Any) -> Any:
        """``storage.name.get(keys, default)``."""
        data = self._load(self._key(name, keys))
        return default if data is None else self._decoded(data)

    def has(self, name: str, keys: Sequence[Any]) -> bool:
        """``keys in storage.name``."""
        return self._load(self._key(name, keys)) is not None

    def write(self, name: str, keys: Sequence[Any], value: Any) -> None:
        """``storage.name = value`` or ``storage.name[keys] = value``."""
        # arguments
        kind = self.storage[name].kind
        if kind is not None and type(value) is not kind:
            raise CallFailure("storage-kind", name, kind.__name__, kind_of(value))
        key = self._key(name, keys)
        # charge
        charge(self, len(key) * self.table.written)
        self._charge_written(value)
        # effect
        self.writes[self.contract, key] = encode_value(value)

    def delete(self, name: str, keys: Sequence[Any]) -> None:
        """``del storage.name[keys]``."""
        key = self._key(name, keys)
        if self._load(key) is None:
            raise CallFailure("no-storage-key", name)
        self.writes[self.contract, key] = None

    def _decoded(self, data: bytes) -> Any:
        first = data[0] >> 5
        if first in (2, 3):  # one byte string or text
            sizes.allocate(self, str, len(data), first == 2 or text_is_ascii(data))
        else:
            charge(self, len(data) * self.table.decoded)
        try:
            return read_value(data)
        except (IndexError, ValueError) as error:
            raise IntegrityError(f"the state of {self.contract} holds no value") from error

    def _charge_written(self, value: Any) -> None:
        size = sizes.measure(self, value)
        if size > MAX_TEXT:
            raise CallFailure("too-long-to-keep", MAX_TEXT)
        charge(self, size * self.table.written)

    # --- events ---------------------------------------------------------------------------------

    def revert(self, message: Any) -> NoReturn:
        """What `require` does when its condition is false; the message goes into the receipt."""
        if type(message) is not str:
            raise CallFailure("message-kind", kind_of(message))
        self._charge_written(message)
        raise CallReverted("require", message)

    def emit(self, name: str, names: Sequence[str], values: Sequence[Any]) -> None:
        """``emit(name, names=values)``."""
        for value in values:
            self._charge_written(value)
        fields = {key: sizes.copy(self, value) for key, value in zip(names, values, strict=True)}
        self.events.append(CallEvent(self.contract, name, fields))

    def commit(self) -> None:
        """Apply the journal, in the order of contract and key."""
        for (contract, key), value in sorted(self.writes.items(), key=lambda item: item[0]):
            self._state.put(contract, key, value)


def _from_host(name: str, function: Callable[[Sequence[Any]], Any], args: Sequence[Any]) -> Any:
    """``function(args)``, whose expected errors fail the call."""
    try:
        return function(args)
    except CallFailure:
        raise
    except BdnError as error:
        failure = CallFailure("host", name)
        failure.detail = str(error)
        raise failure from error


def _permitted(function: Function, caller: str) -> bool:
    if caller:
        return function.view or caller in function.callers
    return function.public or function.view
