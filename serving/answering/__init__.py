"""Answers from the pages found, with citations that were checked: ``pipeline.Answerer``."""
