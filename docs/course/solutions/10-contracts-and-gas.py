# %% tags=["exercise-1"]
TOKEN = '''
balances: map[bytes, int]

@public
def mint(amount: int):
    storage.balances[context.sender] = storage.balances.get(context.sender, 0) + amount

@public
def transfer(to: bytes, amount: int):
    require(amount > 0, "send at least one token")
    have = storage.balances.get(context.sender, 0)
    require(have >= amount, "too few tokens")
    storage.balances[context.sender] = have - amount
    storage.balances[to] = storage.balances.get(to, 0) + amount

@view
def balance_of(who: bytes) -> int:
    return storage.balances.get(who, 0)
'''
# %% tags=["exercise-2"]
def gas_of_loop():
    def used(n):
        return loop.call("add_up", [n], gas=50_000, sender=b"alice", state=MemoryState()).gas_used

    b = used(61) - used(60)
    return used(60) - 60 * b, b
