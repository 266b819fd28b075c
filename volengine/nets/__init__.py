"""Networks: architectures, model files, prediction and training. Only this room and its kernels use PyTorch."""
