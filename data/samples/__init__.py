"""Draws the sample documents: one module a document, on one small drawing layer."""
