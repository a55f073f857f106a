"""One module a model: its options, its network, and how it learns."""
