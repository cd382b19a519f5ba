"""One module a kind of thing that the API has."""
