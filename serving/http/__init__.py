"""The document QA service: ``create_app`` makes it, ``ServerSettings`` says how."""
