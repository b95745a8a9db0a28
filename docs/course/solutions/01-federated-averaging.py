# %% tags=["exercise-1"]
def plain_mean(w, local):
    return w + sum(w_k - w for w_k in local) / len(local)
# %% tags=["exercise-2"]
def recover(update, step=0.2):
    # From w = (0, 0) the error is −y, so the step is (step·y·x, step·y).
    y = update[1] / step
    return update[0] / update[1], y
