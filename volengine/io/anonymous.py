"""Reading public buckets without credentials.

>>> use_anonymous()                       # doctest: +SKIP
>>> open_volume("s3://public/TS_01.zarr")  # doctest: +SKIP

The AWS libraries sign requests with whatever credentials they find, and public buckets refuse those of strangers.
fsspec's own configuration says otherwise: ``FSSPEC_S3='{"anon": true}'`` in the environment does the same for every
process, also for the workers of a cluster that somebody else has started.
"""

from __future__ import annotations

import json
import os
from typing import Any

SETTINGS: dict[str, dict[str, Any]] = {"s3": {"anon": True}, "gcs": {"token": "anon"}}
"""Keyword arguments of the file systems, by the protocol under which fsspec's configuration has them."""


def use_anonymous() -> None:
    """Use object stores without credentials from now on: in this process, and in those that it starts.

    What the environment says besides (an endpoint, for example) is kept.
    """
    import fsspec.config

    for protocol, settings in SETTINGS.items():
        fsspec.config.conf.setdefault(protocol, {}).update(settings)
        name = f"FSSPEC_{protocol.upper()}"
        try:
            before = json.loads(os.environ.get(name, "{}"))
        except ValueError:
            before = {}
        os.environ[name] = json.dumps({**(before if isinstance(before, dict) else {}), **settings})
