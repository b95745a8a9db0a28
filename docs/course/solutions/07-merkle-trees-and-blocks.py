# %% tags=["exercise-1"]
def proven(item, index, proof, root):
    digest = leaf(item)
    for sibling in proof:
        digest = node(digest, sibling) if index % 2 == 0 else node(sibling, digest)
        index //= 2
    return digest == root
# %% tags=["exercise-2"]
def first_fault(chain, head):
    previous = bytes(32)
    for number, (head_of_block, transactions) in enumerate(chain):
        if head_of_block["previous"] != previous.hex():
            return number
        if head_of_block["root"] != root_of_four(transactions).hex():
            return number
        previous = digest(head_of_block)
    return None if previous == head else len(chain) - 1
