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

**The language** is described in docs/contract-language.md. A source passes `lexical` (size and
depth, on tokens), Python's own parser, and the whitelist of `parser` and `lowering`, which give the
abstract syntax of `syntax`; `analysis` then checks what concerns the whole: names that may have no
value, recursion, stack, views. Nothing that is not translated can reach an engine.

**Values** (`values`) are plain Python ones within `limits`, and have one encoding. What crosses a
boundary (arguments, storage, events, calls between contracts) is copied.

**Two engines.** `walker` is the specification: one short method for each node. `closures`,
`closure_expressions` and `fast` compile each node to a closure. Both share `operations`, `builtins`
and `methods`, where each operation checks its arguments, charges, then works. `generate` and
`differential` compare the engines on random programs.

**Gas** (`gas`, `sizes`): what a statement's nodes cost is charged when it begins, what depends on
sizes before each operation's work; the table is versioned.

**The machine** (`machine`) keeps writes and events in a journal until a call has ended well, so a
failure anywhere leaves nothing. It also makes calls between contracts (permitted by the callee, no
re-entrancy) and to host functions (`host`): price, charge, call.

Where we differ from DESIGN.md: ``out-of-gas`` and errors of the contract itself are told apart from
``require`` in a receipt's status, and a contract may have storage cells beside maps.
"""

from bdn.chain.contracts.contract import Contract, compile_contract
from bdn.chain.contracts.errors import (
    ContractError,
    ContractLimitError,
    ContractNameError,
    ContractSyntaxError,
)
from bdn.chain.contracts.machine import HostFunction, MemoryState, State
from bdn.chain.contracts.receipt import Event, Receipt
from bdn.chain.contracts.values import Value, decode_value, encode_value, storage_key

__all__ = [
    "Contract", "ContractError", "ContractLimitError", "ContractNameError", "ContractSyntaxError",
    "Event", "HostFunction", "MemoryState", "Receipt", "State", "Value", "compile_contract",
    "decode_value", "encode_value", "storage_key",
]
