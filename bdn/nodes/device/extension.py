"""How the devices extend a finished run: by calls of the learning contract that they all check.

A device whose owner wants P' epochs calls ``extend(P')``. When as many devices have asked for the
same number as an aggregate needs, the contract opens the next epoch. The devices take the number
from the ledger's state, with a proof: what an edge server hides cannot change it.
"""

from bdn.chain import CallTransaction
from bdn.chain.contracts import decode_value, storage_key
from bdn.nodes.device.keyring import Cells

CONTRACT, FUNCTION = "learning", "extend"

EPOCHS = storage_key("epochs")


def request(epochs: int) -> CallTransaction:
    """Return the call by which a device asks for ``epochs`` epochs in all."""
    return CallTransaction(CONTRACT, FUNCTION, (epochs,))


def asked_for(call: CallTransaction) -> int:
    """Return the number of epochs that ``call`` asks for; 0 for any other call."""
    if (call.contract, call.function) != (CONTRACT, FUNCTION) or len(call.arguments) != 1:
        return 0
    number = call.arguments[0]
    return number if type(number) is int else 0


def read_epochs(cells: Cells) -> int:
    """Return the number of epochs that the ledger's state grants; 0 where it is not known yet."""
    value = cells.get(EPOCHS)
    number = decode_value(value) if value is not None else 0
    return number if type(number) is int else 0
