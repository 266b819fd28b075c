"""Model files of other programs: read into torch modules with their facts, and written."""
