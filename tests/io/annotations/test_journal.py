"""The journal: a transaction is wholly there or not at all, and damage in the middle is not taken for a torn end."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from volengine.core.boxes import Box
from volengine.core.errors import FormatError, MissingError, TakenOverError
from volengine.io.annotations.blocks import BLOCK, Drawn, blocks_of, box_of, packed, unpacked
from volengine.io.annotations.frames import BLOCK as VOXELS
from volengine.io.annotations.frames import COMMIT, MARK, frame
from volengine.io.annotations.journal import Journal, create_journal


def opened(path: Path) -> Journal:
    journal = Journal(path)
    journal.refresh()
    return journal


def made(path: Path, count: int) -> list[bytes]:
    """Write some transactions; return the file after each."""
    create_journal(path)
    seen = [path.read_bytes()]
    journal = opened(path)
    for number in range(count):
        journal.append({"number": number}, [((0, 0, n), bytes([number, n])) for n in range(number % 3)])
        seen.append(path.read_bytes())
    journal.close()
    return seen


def numbers(path: Path) -> list[int]:
    journal = Journal(path)
    try:
        _, found = journal.refresh()
        for one in found:
            assert [journal.body(at) for at in one.blocks] == [
                bytes([one.facts["number"], n]) for n in range(one.facts["number"] % 3)
            ]
        return [one.facts["number"] for one in found]
    finally:
        journal.close()


def test_cut_anywhere_nothing_earlier_is_lost_and_the_next_one_counts(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    *_, before, whole = made(path, 6)
    for end in range(len(before), len(whole), 7):
        path.write_bytes(whole[:end])
        assert numbers(path) == [0, 1, 2, 3, 4]
        journal = opened(path)
        journal.append({"number": 6})
        journal.close()
        assert numbers(path) == [0, 1, 2, 3, 4, 6]
        assert path.read_bytes().startswith(whole[:end]), "what is there is never overwritten"


def test_a_changed_byte_before_the_last_transaction_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    seen = made(path, 6)
    whole = seen[-1]
    for at in range(0, len(seen[-2]), 11):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 0x55]) + whole[at + 1 :])
        with pytest.raises(FormatError, match=r"damaged|is no journal"):
            numbers(path)


def test_a_commit_that_follows_nothing_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    whole = made(path, 2)[-1]
    for facts in (b"{}", b'{"after": [1], "blocks": []}', b'{"after": "zz", "blocks": []}', b"[]", b"{"):
        path.write_bytes(whole + frame(COMMIT, bytes(8), facts))
        with pytest.raises(FormatError, match=r"damaged|no names and values"):
            numbers(path)


def test_a_shorter_file_than_before_and_another_one_are_noticed(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    seen = made(path, 3)
    journal = opened(path)
    path.write_bytes(seen[1])
    with pytest.raises(FormatError, match="was cut"):
        journal.refresh()
    create_journal(path, [({"number": 7, "what": 1}, [((1, 2, 3), b"x")])])
    other, found = journal.refresh()
    assert other
    assert [(one.facts["number"], one.facts["blocks"]) for one in found] == [(7, [[1, 2, 3]])]
    path.unlink()
    with pytest.raises(MissingError, match="holds no annotations"):
        journal.refresh()
    path.write_bytes(b"something else")
    with pytest.raises(FormatError, match="is no journal"):
        journal.refresh()


def test_what_a_writer_that_was_asleep_appends_does_not_count_and_it_is_told(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    made(path, 2)
    asleep, awake = opened(path), opened(path)
    awake.append({"number": 2}, [((0, 0, n), bytes([2, n])) for n in range(2)])
    with pytest.raises(TakenOverError, match="does not count"):
        asleep.append({"number": 99})
    assert numbers(path) == [0, 1, 2]
    asleep.append({"number": 3})  # it has read what the others did
    _, found = awake.refresh()
    assert [one.facts["number"] for one in found] == [3]
    assert numbers(path) == [0, 1, 2, 3]


def test_a_full_disk_loses_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "journal"
    made(path, 2)
    journal, write = opened(path), os.write

    def full(number: int, data: bytes) -> int:
        if len(data) < 20:
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(number, data[: len(data) // 2])

    with monkeypatch.context() as patched:
        patched.setattr(os, "write", full)
        with pytest.raises(OSError, match="No space left") as caught:
            journal.append({"number": 2}, [((0, 0, n), bytes([2, n])) for n in range(2)])
    assert caught.value.filename == str(path)
    assert numbers(path) == [0, 1]
    journal.append({"number": 3})
    assert numbers(path) == [0, 1, 3]


def test_voxels_that_look_like_a_frame_are_none(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    create_journal(path)
    journal = opened(path)
    inner = frame(VOXELS, bytes(8), b"x")
    journal.append({"number": 0}, [((0, 0, 0), MARK + inner)])
    (one,) = Journal(path).refresh()[1]
    assert [journal.body(at) for at in one.blocks] == [MARK + inner]


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_codes_of_a_block_are_kept(seed: int) -> None:
    rng = np.random.default_rng(seed)
    start = tuple(int(rng.integers(n)) for n in BLOCK)
    shape = tuple(int(rng.integers(1, min(6, n - s) + 1)) for s, n in zip(start, BLOCK, strict=True))
    codes = rng.integers(0, 4, shape).astype(np.uint8) * (rng.random(shape) < 0.3)
    block = tuple(int(rng.integers(1000)) for _ in range(3))
    expected = np.full(BLOCK, 1, np.uint8)
    inner = expected[tuple(slice(a, a + n) for a, n in zip(start, shape, strict=True))]
    inner[codes > 0] = codes[codes > 0]
    body = packed(block, codes.astype(np.uint8), start)
    state = np.full(BLOCK, 1, np.uint8)
    if body:
        drawn = unpacked(body, "x")
        assert drawn.block == block
        drawn.over(state)
    assert (state == expected).all()
    assert bool(body) == bool(codes.any())


def test_damaged_blocks_are_refused() -> None:
    body = packed((0, 0, 0), np.ones((2, 3, 4), np.uint8))
    wrong = np.full((2, 3, 4), 9, np.uint8)
    for other in (body[:10], body[:-3], body[:12] + b"\xff" + body[13:], packed((0, 0, 0), wrong)):
        with pytest.raises(FormatError, match=r"x: a block"):
            unpacked(other, "x")
    assert isinstance(unpacked(body, "x"), Drawn)


def test_blocks_cover_a_box_once() -> None:
    box = Box((5, 60, 0), (70, 130, 65))
    seen = np.zeros((96, 192, 128), np.int64)
    for block, part in blocks_of(box):
        assert box_of(block).contains(part)
        seen[part.slices] += 1
    expected = np.zeros_like(seen)
    expected[box.slices] = 1
    assert (seen == expected).all()
