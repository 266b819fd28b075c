"""Fitting a network: the loop, its state, its report."""
