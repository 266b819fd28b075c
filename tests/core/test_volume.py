"""Descriptions of volumes come from files, too, and are refused in words."""

from __future__ import annotations

import pytest

from volengine.core.errors import InputError
from volengine.core.volume import Volume


@pytest.mark.parametrize("dtype", ["9" * 5000 + ",i4", "no such dtype", "i4,,", "(1", ""])
def test_what_is_no_dtype_is_refused(dtype: str) -> None:
    with pytest.raises(InputError, match=r"a\.mrc: .* is no dtype"):
        Volume("a.mrc", (4, 5, 6), dtype, (10, 10, 10))


def test_a_dtype_has_one_name() -> None:
    names = {Volume("a.mrc", (4, 5, 6), dtype, (10, 10, 10)).dtype for dtype in ("f4", "<f4", ">f4", "float32")}
    assert names == {"float32"}
