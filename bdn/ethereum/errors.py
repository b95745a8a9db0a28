"""What can go wrong between a run and an Ethereum node; each is one line for the user."""

from bdn.errors import BdnError


class EthereumError(BdnError):
    """Root of this package's errors, beside `UsageError`."""


class NodeError(EthereumError):
    """The Ethereum node cannot be reached, or does not answer as one does."""


class WrongChainError(EthereumError):
    """The node is of another Ethereum chain, or the contract anchors another ledger."""


class FundsError(EthereumError):
    """The account cannot pay for a transaction."""


class AnchorError(EthereumError):
    """There is no contract at the address, or one of another version."""


class RevertedError(EthereumError):
    """The contract refused a call.

    Attributes:
        name: of the contract's error, such as ``"AggregateIsRight"``; empty where it gave none.
        arguments: its details.
    """

    def __init__(self, message: str, name: str = "", arguments: tuple[object, ...] = ()) -> None:
        super().__init__(message)
        self.name = name
        self.arguments = arguments
