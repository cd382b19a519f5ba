"""Folioscope as a retriever of other frameworks; each module needs its framework installed."""
