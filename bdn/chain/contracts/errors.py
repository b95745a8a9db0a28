"""What can be wrong with a contract: its source (compile time) or what it does (run time)."""

from bdn.errors import BdnError, UsageError


class ContractError(UsageError):
    """A source that the language refuses; says where (1-based line and column) and why.

    Attributes:
        name: the contract's name.
        line: 1-based line of the source.
        column: 1-based column.
        reason: the message without the place.
    """

    def __init__(self, reason: str, line: int, column: int, name: str = "contract") -> None:
        self.name, self.line, self.column, self.reason = name, line, column, reason
        super().__init__(f"{name}:{line}:{column}: {reason}")


class ContractSyntaxError(ContractError):
    """Not the language's grammar: no Python at all, or Python outside the whitelist."""


class ContractNameError(ContractError):
    """A name that is unknown, used before it is surely assigned, or taken already."""


class ContractLimitError(ContractError):
    """A source that is too long, too deep or too large to be worth parsing; or recursion."""


class CallFailure(BdnError):  # noqa: N818 - contracts fail; "failure" is what receipts say
    """A running contract stops; the engine turns this into a failed receipt.

    Args:
        code: one of `bdn.chain.contracts.receipt.SENTENCES`.
        arguments: what the sentence is about: names, types, small numbers.

    Attributes:
        status: ``reverted``, ``failed``, ``out-of-gas`` or ``refused`` (see `CallReceipt.status`).
        line: the 1-based line of the statement that was running, once known.
        contract: the contract in which that line stands, once known.
        detail: what this node can add to the reason and other nodes may say otherwise: the message
            of a host function's own error. It never reaches a digest.
    """

    status = "failed"

    def __init__(self, code: str, *arguments: str | int) -> None:
        super().__init__(code, *arguments)
        self.code, self.arguments = code, arguments
        self.line: int | None = None
        self.contract = ""
        self.detail = ""


class CallReverted(CallFailure):
    """`require` did not hold."""

    status = "reverted"


class OutOfGas(CallFailure):
    """The next step costs more than what is left."""

    status = "out-of-gas"

    def __init__(self) -> None:
        super().__init__("out-of-gas")


class CallRefused(CallFailure):
    """A call that is not permitted: unknown function, wrong caller, wrong arguments."""

    status = "refused"
