"""Answers and HTTP on top of a finished index."""
