"""Networks: architectures, their files, applying and fitting them. PyTorch lives here and nowhere else."""
