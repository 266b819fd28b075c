"""What is said to fsspec about public buckets."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import fsspec.config
import pytest

from volengine.io.anonymous import use_anonymous


def test_this_process_and_its_children_use_no_credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FSSPEC_S3", '{"endpoint_url": "http://127.0.0.1:9"}')
    monkeypatch.setenv("FSSPEC_GCS", "no json")
    monkeypatch.setitem(fsspec.config.conf, "s3", {"endpoint_url": "http://127.0.0.1:9"})
    monkeypatch.setitem(fsspec.config.conf, "gcs", {})
    use_anonymous()
    wanted = {"endpoint_url": "http://127.0.0.1:9", "anon": True}
    assert fsspec.config.conf["s3"] == wanted
    assert json.loads(os.environ["FSSPEC_S3"]) == wanted
    assert fsspec.config.conf["gcs"] == {"token": "anon"}
    code = "import fsspec.config, json; print(json.dumps(fsspec.config.conf['s3']))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == wanted
