# %% tags=["exercise-1"]
def simulate(e):
    z = rng.randrange(q)
    return pow(g, z, p) * pow(y, -e, p) % p, z
# %% tags=["exercise-2"]
def extract(e1, z1, e2, z2):
    return (z1 - z2) * pow(e1 - e2, -1, q) % q
