"""Files of training data: training sets of Ais, folders of NIfTI patches, sample data."""
