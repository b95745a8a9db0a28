"""The contract's refusals in words, and every way in which a node's trouble becomes one line."""

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from bdn.ethereum.artefact import load_artefact
from bdn.ethereum.errors import AnchorError, FundsError, NodeError, RevertedError
from bdn.ethereum.extra import load

REFUSALS = {
    "BadSetup": "the set-up is unusable: {0}",
    "NotAnEdge": "account {0} is not a registered edge server; use an edge server's account",
    "TooManyDevices": "the ledger has {0} devices, and no more can be registered",
    "DeviceKnown": "device {0} is registered already",
    "DevicesMissing": "only {0} of {1} devices are registered",
    "AlreadyAnchored": "epoch {0}, phase {1}, is anchored already, and stays as it is",
    "BadRound": "the round is malformed: {0}",
    "UnknownRound": "epoch {0}, phase {1}, was not anchored like this",
    "AlreadyProven": "the aggregate of epoch {0}, phase {1}, was proven false already",
    "WrongModulus": "the ciphertexts are of another key than the contract's",
    "NoSuchCiphertext": "there is no ciphertext {0} among {1}",
    "WrongInputCount": "{0} inputs were given for {1} contributions",
    "InputNotIncluded": "input {0} is not in the anchored update",
    "ClaimNotIncluded": "the claimed ciphertext is not in the anchored aggregate",
    "AggregateIsRight": "ciphertext {0} of the aggregate is right: there is no lie to prove",
    "PrecompileFailed": "the node's MODEXP precompile failed",
}
"""The contract's errors by name; {0}, {1} are their arguments."""

_POOR = ("insufficient funds", "cannot afford", "insufficient balance", "exceeds allowance")


def refusal(data: bytes) -> RevertedError:
    """What the bytes that a call reverted with say."""
    keccak = load("eth_utils").keccak
    for item in load_artefact().abi:
        if item["type"] != "error":
            continue
        types = [argument["type"] for argument in item["inputs"]]
        if data[:4] == keccak(text=f"{item['name']}({','.join(types)})")[:4]:
            arguments = load("eth_abi").decode(types, data[4:])
            words = [value.hex() if isinstance(value, bytes) else value for value in arguments]
            sentence = REFUSALS[item["name"]].format(*words)
            return RevertedError(f"the contract refused: {sentence}", item["name"], arguments)
    reason = f"0x{data.hex()}" if data else "no reason given"
    return RevertedError(f"the call was reverted: {reason}")


@contextmanager
def translated(where: str) -> Iterator[None]:
    """Turn what web3, the node and the in-process chain raise into this package's errors."""
    requests, web3 = load("requests"), load("web3")
    expected: tuple[type[Exception], ...] = (
        requests.RequestException, web3.exceptions.Web3Exception, *_in_process_errors(),
    )
    try:
        yield
    except requests.RequestException as error:
        raise NodeError(f"no Ethereum node answers at {where}: is it running, and is the address "
                        f"right? ({type(error).__name__})") from error
    except json.JSONDecodeError as error:
        raise NodeError(f"what answers at {where} is no Ethereum node") from error
    except web3.exceptions.BadFunctionCallOutput as error:
        raise AnchorError("the contract does not answer: nothing is deployed at its address, or "
                            "something else") from error
    except web3.exceptions.TimeExhausted as error:
        raise NodeError("a transaction was sent but not mined in time; run the command again "
                        "later, it goes on where it stopped") from error
    except expected as error:
        raise _explained(error, where) from error


def _explained(error: Exception, where: str) -> Exception:
    data = _revert_data(error)
    if data is not None:
        return refusal(data)
    text = " ".join(str(error).split())
    if any(words in text.lower() for words in _POOR):
        return FundsError(f"the account cannot pay for the transaction ({text})")
    if "revert" in text.lower():
        return RevertedError(f"the call was reverted ({text})")
    return NodeError(f"the node at {where} refused: {text}")


def _in_process_errors() -> tuple[type[Exception], ...]:
    """What the in-process chain raises; nothing where it was never loaded."""
    places = (("eth_tester.exceptions", "TransactionFailed"), ("eth_utils", "ValidationError"))
    return tuple(getattr(sys.modules[module], name)
                 for module, name in places if module in sys.modules)


def _revert_data(error: BaseException) -> bytes | None:
    """The bytes that a call reverted with, or None where it is no revert."""
    data = getattr(error, "data", None)
    if isinstance(data, str) and data.startswith("0x"):
        return bytes.fromhex(data[2:])
    link: BaseException | None = error
    while link is not None:
        if type(link).__name__ == "Revert" and link.args and isinstance(link.args[0], bytes):
            return link.args[0]
        link = link.__cause__ or link.__context__
    return None
