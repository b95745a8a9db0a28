"""Contracts: a small language in Python's syntax, two engines, gas, and host functions.

>>> from bdn.chain.contracts import MemoryState, compile_contract
>>> counter = compile_contract('''
... counts: map[bytes, int]
...
... @public
... def count(by: int) -> int:
...     require(by > 0, "count upwards")
...     storage.counts[context.sender] = storage.counts.get(context.sender, 0) + by
...     return storage.counts[context.sender]
... ''')
>>> state = MemoryState()
>>> counter.call("count", [2], gas=10_000, sender=b"alice", state=state).result
2
>>> counter.call("count", [-1], gas=10_000, sender=b"alice", state=state).error
'line 6: count upwards'
>>> counter.call("count", [3], gas=10_000, sender=b"alice", state=state).result
5

**The language** is described in docs/contract-language.md. The modules of `front` read a source:
`tokens` bounds its size and depth, Python's own parser makes a tree of it, the whitelist of
`parser` and `lowering` translates that tree to the abstract syntax of `syntax`, and `analysis`
checks the whole: names that may have no value, recursion, stack, views.

**Values** (`values`) are plain Python ones within `limits`, and have one encoding. What crosses a
boundary (arguments, storage, events, calls between contracts) is copied.

**Two engines.** `walker` is the specification: one short method for each node. The modules of
`compiled` make one Python closure of each node; that engine runs. Both end up in `operations`
(operators, built-in functions, methods, host functions), where each operation checks its arguments,
charges, then works. ``tests/chain/contract_differential.py`` compares them on random programs.

**Gas** (`gas`, `operations.sizes`): the static price of a statement is charged when it begins, and
what depends on sizes is charged before each operation's work. The table is versioned.

**The machine** (`machine`) keeps writes and events in a journal until a call has ended well, so a
failure anywhere leaves nothing. It also makes calls between contracts (permitted by the callee, no
re-entrancy) and to host functions: price, charge, call.
"""

from bdn.chain.contracts.contract import Contract, compile_contract
from bdn.chain.contracts.errors import (
    ContractError,
    ContractLimitError,
    ContractNameError,
    ContractSyntaxError,
)
from bdn.chain.contracts.machine import ContractState, HostFunction, MemoryState
from bdn.chain.contracts.receipt import CallEvent, CallReceipt
from bdn.chain.contracts.values import Value, decode_value, encode_value, storage_key

__all__ = [
    "CallEvent",
    "CallReceipt",
    "Contract",
    "ContractError",
    "ContractLimitError",
    "ContractNameError",
    "ContractState",
    "ContractSyntaxError",
    "HostFunction",
    "MemoryState",
    "Value",
    "compile_contract",
    "decode_value",
    "encode_value",
    "storage_key",
]
