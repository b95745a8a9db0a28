# %% tags=["exercise-1"]
def rerandomise(c, r):
    return c * encrypt(0, r) % N2
# %% tags=["exercise-2"]
def pack(a, b):
    return a + 16 * b


def unpack(packed):
    return packed % 16, packed // 16
