"""Formats: files and stores in, files and stores out. No methods."""
