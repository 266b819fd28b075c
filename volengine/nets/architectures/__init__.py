"""Architectures of networks, by family, and what can be told of one without running it."""
