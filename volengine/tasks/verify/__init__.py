"""Checking what was written."""
