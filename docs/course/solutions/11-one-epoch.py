# %% tags=["exercise-1"]
def largest_difference():
    return float(np.abs(w_1 - plain.w).max())
# %% tags=["exercise-2"]
prepares, commits = 9, 12
