"""Annotations of a tomogram: a journal of transactions, and the labels, boxes and points that follow from it."""
