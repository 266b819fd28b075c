"""Competition and interactions against brute force, against Ais's documented arithmetic, and in blocks."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from volengine.core.boxes import Box
from volengine.core.errors import InputError
from volengine.core.rules import Compete, Interact, changed_features, parse_rules, rules_to_json
from volengine.core.tiling import Tiling
from volengine.ops.interact import RuleChain, above

NAMES = ("a", "b", "c")
sizes = st.sampled_from([10.0, 13.33, 8.0])
voxels = st.one_of(sizes.map(lambda v: (v, v, v)), st.tuples(sizes, sizes, sizes))


@st.composite
def rule(draw):
    if draw(st.booleans()):
        names = st.lists(st.sampled_from(NAMES), min_size=1, max_size=3, unique=True).map(tuple)
        emit, absorb = draw(names), draw(names)
        if {*emit} == {*absorb} and len(emit) == 1:
            absorb = tuple(n for n in NAMES if n not in emit)
        return Compete(emit, absorb)
    child, parent = draw(st.permutations(NAMES))[:2]
    return Interact(
        child,
        parent,
        draw(st.sampled_from(["colocalize", "avoid"])),
        draw(st.sampled_from([0.1, 1.0, 1.333, 2.0, 2.5, 3.7])),
        draw(st.sampled_from([0.3, 0.5, 0.7])),
        draw(st.sampled_from(["2d", "3d"])),
    )


def predictions(shape, seed: int, dtype: str = "uint8") -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    found = {n: ndimage.gaussian_filter(rng.random(shape), 0.7) for n in NAMES}
    found = {n: (p - p.min()) / max(np.ptp(p), 1e-9) for n, p in found.items()}
    if seed % 3 == 2:  # nothing in most voxels, so that blocks and boxes are empty
        found = {n: np.where(p > (0.6, 0.93)[seed % 2], p, 0) for n, p in found.items()}
    if dtype == "uint8":
        return {n: np.rint(p * 255).astype("uint8") for n, p in found.items()}
    return {n: p.astype(dtype) for n, p in found.items()}


def brute_dilation(mask: np.ndarray, radius: float, spacing, shape: str) -> np.ndarray:
    """By a footprint of all offsets whose distance is at most the radius."""
    reach = [int(radius / s) + 1 for s in spacing]
    if shape == "2d":
        reach[0] = 0
    grids = np.meshgrid(*[np.arange(-r, r + 1) * s for r, s in zip(reach, spacing, strict=True)], indexing="ij")
    footprint = np.sqrt(sum(g**2 for g in grids)) <= radius * (1 + 1e-7)
    return ndimage.binary_dilation(mask, footprint)


def brute(state: dict[str, np.ndarray], rules, spacing) -> dict[str, np.ndarray]:
    state = {n: p.copy() for n, p in state.items()}
    for r in rules:
        if isinstance(r, Compete):
            strongest = np.max([state[n] for n in r.emit], axis=0)
            state |= {n: np.where(state[n] < strongest, 0, state[n]).astype(state[n].dtype) for n in r.absorb}
            continue
        scale = 255 if state[r.parent].dtype == np.uint8 else 1
        mask = brute_dilation(state[r.parent] > np.float32(r.threshold) * scale, r.radius_nm * 10, spacing, r.shape)
        keep = mask if r.kind == "colocalize" else ~mask
        state[r.child] = np.where(keep, state[r.child], 0).astype(state[r.child].dtype)
    return state


@settings(max_examples=60)
@given(st.tuples(*[st.integers(1, 12)] * 3), st.integers(0, 999), st.lists(rule(), min_size=1, max_size=4), voxels)
def test_rules_are_what_the_paper_says(shape, seed, rules, spacing):
    state = predictions(shape, seed)
    found = RuleChain(tuple(rules), spacing).apply(state)
    expected = brute(state, rules, spacing)
    for name in NAMES:
        assert found[name].dtype == np.uint8
        assert np.array_equal(found[name], expected[name]), name


@settings(max_examples=100)
@given(
    st.tuples(*[st.integers(3, 14)] * 3),
    st.tuples(*[st.integers(2, 7)] * 3),
    st.integers(0, 999),
    st.lists(rule(), min_size=1, max_size=4),
    voxels,
    st.sampled_from(["uint8", "float16", "float32"]),
    st.data(),
)
def test_blocks_with_their_halo_equal_the_whole(shape, core, seed, rules, spacing, dtype, data):
    state = predictions(shape, seed, dtype)
    chain = RuleChain(tuple(rules), spacing)
    outputs = data.draw(st.lists(st.sampled_from(changed_features(rules)), min_size=1, unique=True))
    whole, halos = chain.apply(state), chain.halo(outputs)
    for box in Tiling(shape, core):
        boxes = {n: box.grow(h).clip(shape) for n, h in halos.items()}
        found = chain.gate({n: state[n][b.slices] for n, b in boxes.items()}, boxes, box, shape, outputs)
        assert set(found) == set(outputs)
        for name in outputs:
            assert found[name].dtype == dtype
            assert np.array_equal(found[name], whole[name][box.slices])


def line(**at):
    """Features along x, 12 voxels, each set at one voxel."""
    state = {n: np.zeros((1, 1, 12), "uint8") for n in NAMES}
    for name, x in at.items():
        state[name][..., x] = 200
    return state


@pytest.mark.parametrize("kind", ["colocalize", "avoid"])
def test_a_block_with_few_voxels_has_the_bytes_of_the_whole(kind):
    """Only the box around the child's voxels is computed; a negative zero is one of its voxels."""
    rng = np.random.default_rng(4)
    shape = (9, 20, 24)
    child = np.zeros(shape, np.float32)
    child[3:5, 4:9, 7:20] = rng.choice([0, -0.0, 0.4, 0.9], (2, 5, 13))
    parent = np.where(rng.random(shape) > 0.97, 1, 0).astype(np.float32)
    chain = RuleChain((Interact("a", "b", kind, 2.0, 0.5, "3d"),), (10.0, 10.0, 10.0))
    whole = chain.apply({"a": child, "b": parent})["a"]
    for core in (Box((0, 0, 0), shape), Box((3, 0, 0), (6, 20, 24)), Box((6, 10, 0), (9, 20, 24))):
        box = core.grow((2, 2, 2)).clip(shape)
        arrays = {"a": child[core.slices], "b": parent[box.slices]}
        found = chain.gate(arrays, {"a": core, "b": box}, core, shape, ["a"])["a"]
        assert found.tobytes() == whole[core.slices].tobytes()


def test_halos_add_up_in_sequence_and_one_voxel_less_is_not_enough():
    rules = (Interact("b", "c", "colocalize", 2.0, shape="3d"), Interact("a", "b", "colocalize", 3.0, shape="2d"))
    chain, core, shape = RuleChain(rules, (10.0, 10.0, 10.0)), Box((0, 0, 0), (1, 1, 1)), (1, 1, 12)
    assert chain.halo(["a"]) == {"a": (0, 0, 0), "b": (0, 3, 3), "c": (2, 5, 5)}
    state = line(a=0, b=3, c=5)
    assert chain.apply(state)["a"][0, 0, 0] == 200
    for halo, expected in ((5, 200), (4, 0)):
        boxes = {"a": core, "b": Box((0, 0, 0), (1, 1, 4)), "c": Box((0, 0, 0), (1, 1, 1 + halo))}
        arrays = {n: np.zeros((1, 1, 6), "uint8") for n in NAMES}  # what lies beyond the halo is not known
        for n, box in boxes.items():
            arrays[n][box.slices] = state[n][box.slices]
        wide = dict.fromkeys(NAMES, Box((0, 0, 0), (1, 1, 6)))
        assert chain.gate(arrays, wide, core, shape, ["a"])["a"][0, 0, 0] == expected


def test_of_simultaneous_needs_the_largest_counts():
    rules = (Interact("a", "c", "avoid", 2.0), Interact("b", "c", "avoid", 4.0), Compete(("a", "b"), ("a", "b")))
    chain = RuleChain(rules, (10.0, 20.0, 10.0))
    assert chain.halo(["a", "b"]) == {"a": (0, 0, 0), "b": (0, 0, 0), "c": (0, 2, 4)}
    assert RuleChain(rules[:1], (10.0, 20.0, 10.0)).halo(["b"]) == {"b": (0, 0, 0)}


def test_chains_of_no_use_are_not_computed():
    rules = (Compete(("a", "b"), ("a",)), Interact("b", "c"))
    assert RuleChain(rules, (10.0, 10.0, 10.0)).halo(["b"]) == {"b": (0, 0, 0), "c": (0, 10, 10)}


def ais(state: dict[str, np.ndarray], rules, pixel_nm: float) -> dict[str, np.ndarray]:
    """Ais's export on uint8, restated from its documented behaviour: competition first by the caller's order."""
    state = {n: p.copy() for n, p in state.items()}
    for r in rules:
        if isinstance(r, Compete):
            strongest = np.max([state[n] for n in r.emit], axis=0)
            for n in r.absorb:
                state[n][state[n] < strongest] = 0
            continue
        mask = state[r.parent] > r.threshold * 255
        radius = int(r.radius_nm // pixel_nm)
        y, x = np.mgrid[-radius : radius + 1, -radius : radius + 1]
        kernel = x**2 + y**2 < radius**2
        for z in range(len(mask)):
            dilated = ndimage.binary_dilation(mask[z], kernel)
            state[r.child][z] = state[r.child][z] * (dilated if r.kind == "colocalize" else 1 - dilated)
    return state


@settings(max_examples=60)
@given(
    st.tuples(st.integers(1, 3), st.integers(1, 20), st.integers(1, 20)),
    st.integers(0, 999),
    st.lists(
        st.builds(
            lambda names, kind, radius, threshold: Interact(names[0], names[1], kind, radius, threshold, "2d"),
            st.permutations(NAMES),
            st.sampled_from(["colocalize", "avoid"]),
            st.floats(1.4, 9.0),
            st.floats(0.0, 0.99),
        ),
        min_size=1,
        max_size=3,
    ),
)
def test_compat_gives_the_numbers_of_ais(
    shape,
    seed,
    interactions,
):
    rules = [Compete(NAMES, ("a", "b")), *interactions]
    state = predictions(shape, seed)
    found = RuleChain(tuple(rules), (20.0, 13.9, 13.9), "ais").apply(state)
    expected = ais(state, rules, 1.39)
    for name in NAMES:
        assert np.array_equal(found[name], expected[name])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"radius_nm": 1.2}, r"'a' with 'b'.*1\.2 nm is less than one pixel of 1\.39 nm.*Use 1\.39 nm or more"),
        ({"shape": "3d"}, "discs only"),
    ],
)
def test_compat_refuses_what_ais_gets_wrong(changes, message):
    rules = (Interact("a", "b").with_(**changes),)
    with pytest.raises(InputError, match=message):
        RuleChain(rules, (13.9, 13.9, 13.9), "ais").apply(predictions((2, 3, 4), 0))


def test_thresholds_are_strict():
    values = np.array([[[127, 128, 51, 52]]], "uint8")
    assert above(values, 0.5).tolist() == [[[False, True, False, False]]]
    assert above(values, 0.2).tolist() == [[[True, True, False, True]]]
    assert above(values, 127 / 255).tolist() == above(values.astype("uint16"), 127 / 255).tolist()
    assert above(values, 1 - 0.8).tolist() == above(values, 0.2).tolist()
    assert above(values, 127 / 255).tolist() == [[[False, True, False, False]]]
    assert above(np.array([0.5, 0.50001], "float32"), 0.5).tolist() == [False, True]
    assert above(np.array([0.3, 0.31], "float16"), 0.3).tolist() == [False, True]


@pytest.mark.parametrize("level", range(255))
def test_a_threshold_of_n_255ths_is_n(level):
    assert above(np.arange(256, dtype="uint8"), level / 255).sum() == 255 - level


def test_ties_survive_and_inputs_stay():
    state = {"a": np.array([[[9, 5]]], "uint8"), "b": np.array([[[9, 7]]], "uint8")}
    found = RuleChain((Compete(("a", "b"), ("a", "b")),), (10, 10, 10)).apply(state)
    assert found["a"].tolist() == [[[9, 0]]]
    assert found["b"].tolist() == [[[9, 7]]]
    assert state["a"].tolist() == [[[9, 5]]]


def test_rules_are_applied_in_their_order():
    state = predictions((6, 16, 16), 1)
    rules = (Compete(("a", "b"), ("a", "b")), Interact("a", "b", "colocalize", 2.0))
    one, other = (RuleChain(r, (10, 10, 10)).apply(state)["a"] for r in (rules, rules[::-1]))
    assert not np.array_equal(one, other)


@given(st.lists(rule(), min_size=1, max_size=4))
def test_rules_survive_json(rules):
    assert parse_rules(rules_to_json(rules)) == tuple(rules)


@pytest.mark.parametrize(
    ("rules", "message"),
    [
        ({"compete": {}}, "expected a list"),
        ([{"competes": {}}], r"rules\[0\].*Did you mean 'compete'"),
        ([{"interact": {"child": "a", "parent": "b", "kind": "avoids"}}], "one of colocalize, avoid"),
        ([{"interact": {"child": "a", "parent": "b", "kind": "avoid", "radius": 3}}], "radius_nm"),
        ([{"interact": {"child": "a", "parent": "b", "kind": "avoid", "radius_nm": -1}}], "must be more than 0"),
        ([{"interact": {"child": "a", "parent": "b", "radius_nm": 0}}], "'a' with 'b'.*must be more than 0.*erases"),
        ([{"compete": {"emit": ["a"], "absorb": ["a"]}}], "competes with itself alone"),
    ],
)
def test_wrong_rules_say_what_is_wrong(rules, message):
    with pytest.raises(InputError, match=message):
        parse_rules(rules)
