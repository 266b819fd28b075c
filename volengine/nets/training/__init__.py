"""Training: the loop and its recipe, losses, augmentation of samples."""
