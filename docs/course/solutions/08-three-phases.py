# %% tags=["exercise-1"]
def quorum(n):
    f = (n - 1) // 3
    return (n + f + 2) // 2      # the least size with 2·size − n ≥ f + 1
# %% tags=["exercise-2"]
prepared_servers = 1
