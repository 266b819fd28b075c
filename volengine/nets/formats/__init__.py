"""Model files of other programs: readers, which return torch modules with their facts, and writers."""
