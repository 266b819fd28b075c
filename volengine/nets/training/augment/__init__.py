"""Augmentations of patches."""
