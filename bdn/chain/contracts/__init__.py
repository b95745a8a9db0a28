"""The contract language."""

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
