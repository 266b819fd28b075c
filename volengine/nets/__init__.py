"""Networks: architectures, model files, prediction and training. Only this room and its kernels use PyTorch."""

import os

# Use large pages for feature maps; this must be set before PyTorch allocates its first one. Otherwise a CPU spends a
# tenth of a network's time in the operating system, which provides new pages for every map.
os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")
