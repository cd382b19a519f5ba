"""Measures of how well pages are found, and the questions to measure with."""
