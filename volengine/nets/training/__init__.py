"""Training: the loop and its recipe, the losses, and the augmentation of samples."""
