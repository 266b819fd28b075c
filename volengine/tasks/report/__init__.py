"""report: pages that show what a run has found, one for each tomogram and one of all."""
