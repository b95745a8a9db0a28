"""Labelled images: what is shipped, what is read from disk, and how it is spread over devices.

`sources.load` takes a data set by its name. A new source is one module here and one line there.
`dataset` holds images that may be larger than memory, `splits` shares them out, and `pictures`
reads and resamples image files.
"""
