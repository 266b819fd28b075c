"""Networks: architectures, their files, applying and fitting them. PyTorch lives here and nowhere else."""

import os

# Feature maps in large pages, before PyTorch allocates its first one: a tenth of a network's time on a CPU is the
# system's, which hands out new pages for every map.
os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")
