"""volengine's command line without its networks, and its networks alone.

python nothing.py segment ...                  # with networks that answer their input at once
python nothing.py time FILE.scnm 576 5         # CPU seconds of the network, for a slice of 576 x 576, 5 times
"""

from __future__ import annotations

import json
import sys
import time
from typing import Any

from volengine.cli.main import main
from volengine.nets.predictor import Predictor


class Nothing(Predictor):
    """A predictor without its network; everything around it stays."""

    def __init__(self, *args: Any, **kwargs: Any):
        super().__init__(*args, **kwargs)
        self._call = lambda x: x[:, :1]


def time_network(path: str, side: str, times: str) -> None:
    """Print the CPU seconds of a network for a slice or a window, each of some times after the first."""
    import torch

    from volengine.nets.checkpoint import load_model
    from volengine.nets.predictor import Execution, Traits

    torch.set_num_threads(1)
    module, facts = load_model(path)
    network = Predictor(module, Traits(volumetric=facts.volumetric), Execution(device="cpu"))
    shape = (int(side),) * (3 if facts.volumetric else 2)
    batch = network.batch(shape if facts.volumetric else (1, *shape))
    values = torch.randn(batch, 1, *shape)
    found = []
    with network.running():
        for _ in range(int(times) + 1):
            began = time.process_time()
            network(values)
            found.append((time.process_time() - began) / batch)
    print(json.dumps(found[1:]))


if __name__ == "__main__":
    if sys.argv[1] == "time":
        time_network(*sys.argv[2:])
        sys.exit()
    import volengine.nets.predictor as predictor

    predictor.Predictor = Nothing
    main()
