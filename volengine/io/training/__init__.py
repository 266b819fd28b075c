"""Files of training data: Ais's sets, NIfTI folders, sample data."""
