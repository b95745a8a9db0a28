"""Finding objects on whole pictures with the classifier, and judging how well that goes.

`windows` slides the classifier over a picture and merges what it says, `average_precision` is VOC's
measure, and `judging` applies it to a model and the held-out pictures of a data set.
"""
