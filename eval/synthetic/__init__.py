"""A collection of any size whose word vectors have the statistics of real pages."""
