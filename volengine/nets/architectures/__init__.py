"""Architectures of networks, by family; and their receptive field, stride and cost."""
