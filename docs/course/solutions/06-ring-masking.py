# %% tags=["exercise-1"]
def most_devices(q, D, largest):
    return (q // D - 1) // largest
# %% tags=["exercise-2"]
def difference(first, second):
    rest = (first - second) % Q
    rounded = (rest + D // 2) % Q // D
    return np.where(rounded > Q // D // 2, rounded - Q // D, rounded)
