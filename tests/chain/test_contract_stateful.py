"""Revert atomicity and conservation of tokens, over any history of calls."""

from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from bdn.chain.contracts import CallReceipt, MemoryState, compile_contract

TOKEN = '''
"""Tokens with allowances, a batch that may fail in its middle, and a bank that holds some."""
balances: map[bytes, int]
allowances: map[bytes, bytes, int]
supply: int
bank: contract

@public
def mint(to: bytes, amount: int):
    require(context.height == 0, "in genesis only")
    storage.supply += amount
    _move(b"", to, amount)

@public
def transfer(to: bytes, amount: int):
    _move(context.sender, to, amount)

@public
def approve(spender: bytes, amount: int):
    storage.allowances[context.sender, spender] = amount

@public
def transfer_from(source: bytes, to: bytes, amount: int):
    left = storage.allowances.get(source, context.sender, 0) - amount
    require(left >= 0, "allowance too small")
    storage.allowances[source, context.sender] = left
    _move(source, to, amount)

@public
def batch(payments: list):
    for to, amount in payments:
        _move(context.sender, to, amount)
        emit("paid", to=to)

@public
def deposit(amount: int):
    _move(context.sender, b"bank", amount)
    bank.credit(context.sender, amount)

@only("bank")
def pay_out(to: bytes, amount: int):
    _move(b"bank", to, amount)

@view
def balance_of(owner: bytes) -> int:
    return storage.balances.get(owner, 0)

def _move(source: bytes, to: bytes, amount: int):
    require(amount >= 0, "negative")
    if source:
        left = storage.balances.get(source, 0) - amount
        storage.balances[source] = left
        require(left >= 0, "balance too small")
    storage.balances[to] = storage.balances.get(to, 0) + amount
    emit("moved", source=source, to=to, amount=amount)
'''

BANK = '''
deposits: map[bytes, int]
token: contract

@only("token")
def credit(owner: bytes, amount: int):
    require(amount < 50, "the bank takes small sums")
    storage.deposits[owner] = storage.deposits.get(owner, 0) + amount

@public
def withdraw(amount: int):
    storage.deposits[context.sender] = storage.deposits.get(context.sender, 0) - amount
    token.pay_out(context.sender, amount)
    require(storage.deposits[context.sender] >= 0, "no such deposit")

@view
def deposit_of(owner: bytes) -> int:
    return storage.deposits.get(owner, 0)
'''

ACCOUNTS = [b"alice", b"bob", b"carol", b"dave"]
accounts = st.sampled_from(ACCOUNTS)
amounts = st.integers(-5, 130)
gas_limits = st.one_of(st.just(100_000), st.integers(0, 9_000))
engines = st.sampled_from(["walker", "closures"])


class TokenHistory(RuleBasedStateMachine):
    """Any sequence of calls by anyone, with enough gas or without, on either engine."""

    def __init__(self) -> None:
        super().__init__()
        self.state = MemoryState()
        self.contracts = {"token": compile_contract(TOKEN, "token"),
                          "bank": compile_contract(BANK, "bank")}
        self.supply = 0

    def call(self, contract: str, function: str, sender: bytes, args: list[Any], gas: int,
             engine: str, height: int = 1) -> CallReceipt:
        before = dict(self.state.entries)
        receipt = self.contracts[contract].call(
            function, args, gas=gas, sender=sender, state=self.state, engine=engine,
            contracts=self.contracts, context={"height": height})
        if not receipt.ok:
            assert self.state.entries == before  # nothing of a failed call remains
            assert receipt.events == ()
        return receipt

    @initialize(start=st.lists(st.tuples(accounts, st.integers(0, 200)), min_size=1, max_size=4))
    def genesis(self, start: list[tuple[bytes, int]]) -> None:
        for account, amount in start:
            assert self.call("token", "mint", b"", [account, amount], 10**5, "closures", 0).ok
            self.supply += amount

    @rule(sender=accounts, to=accounts, amount=amounts, gas=gas_limits, engine=engines)
    def transfer(self, sender: bytes, to: bytes, amount: int, gas: int, engine: str) -> None:
        self.call("token", "transfer", sender, [to, amount], gas, engine)

    @rule(sender=accounts, to=accounts, amount=amounts, gas=gas_limits, engine=engines)
    def approve(self, sender: bytes, to: bytes, amount: int, gas: int, engine: str) -> None:
        self.call("token", "approve", sender, [to, amount], gas, engine)

    @rule(sender=accounts, source=accounts, to=accounts, amount=amounts, gas=gas_limits,
          engine=engines)
    def transfer_from(self, sender: bytes, source: bytes, to: bytes, amount: int, gas: int,
                      engine: str) -> None:
        self.call("token", "transfer_from", sender, [source, to, amount], gas, engine)

    @rule(sender=accounts, payments=st.lists(st.tuples(accounts, amounts), max_size=5),
          gas=gas_limits, engine=engines)
    def batch(self, sender: bytes, payments: list[Any], gas: int, engine: str) -> None:
        receipt = self.call("token", "batch", sender, [[list(p) for p in payments]], gas, engine)
        assert len(receipt.events) == (2 * len(payments) if receipt.ok else 0)

    @rule(sender=accounts, amount=amounts, gas=gas_limits, engine=engines)
    def deposit(self, sender: bytes, amount: int, gas: int, engine: str) -> None:
        self.call("token", "deposit", sender, [amount], gas, engine)

    @rule(sender=accounts, amount=amounts, gas=gas_limits, engine=engines)
    def withdraw(self, sender: bytes, amount: int, gas: int, engine: str) -> None:
        self.call("bank", "withdraw", sender, [amount], gas, engine)

    @rule(sender=accounts, to=accounts, engine=engines)
    def forge(self, sender: bytes, to: bytes, engine: str) -> None:
        assert not self.call("token", "mint", sender, [to, 5], 10**5, engine).ok
        assert not self.call("token", "pay_out", sender, [to, 5], 10**5, engine).ok
        assert not self.call("bank", "credit", sender, [to, 5], 10**5, engine).ok

    def view(self, contract: str, function: str, owner: bytes) -> int:
        receipt = self.contracts[contract].call(function, [owner], gas=10**5, state=self.state)
        assert receipt.ok
        return int(receipt.result)

    @invariant()
    def tokens_are_conserved(self) -> None:
        """No history makes or destroys a token, and no balance is negative."""
        balances = [self.view("token", "balance_of", owner) for owner in [*ACCOUNTS, b"bank"]]
        assert min(balances) >= 0
        assert sum(balances) == self.supply

    @invariant()
    def the_bank_owes_what_it_holds(self) -> None:
        """Two contracts' states change together or not at all."""
        owed = sum(self.view("bank", "deposit_of", owner) for owner in ACCOUNTS)
        assert owed == self.view("token", "balance_of", b"bank")


TestTokenHistory = TokenHistory.TestCase
