"""The vocabulary: boxes, tilings, volumes, picks, recipes, units, errors. This room imports numpy and nothing else."""
