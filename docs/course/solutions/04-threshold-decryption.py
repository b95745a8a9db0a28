# %% tags=["exercise-1"]
def shifted_part(c):
    return partial(c, 4) * (1 + N) % N2
# %% tags=["exercise-2"]
def same(M):
    return M * pow(4 * delta**2 * beta * m, -1, N) % N == M * pow(4 * delta**2 * theta, -1, N) % N
