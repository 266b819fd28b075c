"""skeleton: the mid-surface of membranes as labels, and the centrelines of filaments as tables."""
