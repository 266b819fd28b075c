"""The vocabulary: boxes, tilings, volumes, picks, recipes, units, errors. Knows numpy and nothing else."""
