"""Kernels to original nodes, by names and by what lies between them."""

import numpy as np
import pytest

from lepton_ai.engines.stands_for import Kernel, Original, stands_for


@pytest.fixture
def original(write):
    """a -> b -> c -> d -> e, one after the other, and a node on constants beside."""
    path = write(
        "(float[n] x) => (float[n] y)",
        """
        [a] va = Exp (x) [b] vb = Sin (va) [k] vk = Exp (w)
        [c] vc = Add (vb, vk) [d] vd = Exp (vc) [e] y = Sin (vd)
        """,
        w=np.ones(1, np.float32),
    )
    return Original(path)


def kernel(original, *claims, sources=(), **marks):
    nodes = [original.nodes[name] for name in claims]
    return Kernel(name="k", operator="K", sources=sources, claims=nodes, **marks)


def test_what_no_kernel_claims_went_into_the_next_one_that_is_known(original):
    kernels = [kernel(original, "a"), kernel(original, "e", sources=(0,), fused=True)]
    assert stands_for(kernels, original) == [("a",), ("b", "c", "d", "e")]


def test_a_node_that_another_kernel_claims_is_not_taken(original):
    kernels = [
        kernel(original, "a"),
        kernel(original, "c", sources=(0,), fused=True),
        kernel(original, "e", sources=(1,), fused=True),
    ]
    assert stands_for(kernels, original) == [("a",), ("b", "c"), ("d", "e")]


def test_nameless_kernels_stand_for_what_lies_before_the_next_known_one(original):
    kernels = [
        kernel(original, "a"),
        kernel(original, sources=(0,)),
        kernel(original, sources=(1,)),
        kernel(original, "e", sources=(2,)),
    ]
    assert stands_for(kernels, original) == [
        ("a",),
        ("b", "c", "d"),
        ("b", "c", "d"),
        ("e",),
    ]


def test_nameless_kernels_with_nothing_between_are_parts_of_the_next_known_one(original):
    kernels = [
        kernel(original, "a", "b", "c", "d"),
        kernel(original, sources=(0,)),
        kernel(original, "e", sources=(1,)),
    ]
    assert stands_for(kernels, original)[1:] == [("e",), ("e",)]


def test_idle_kernels_stand_for_nothing_and_are_seen_through(original):
    kernels = [
        kernel(original, "a"),
        kernel(original, sources=(0,)),
        kernel(original, sources=(1,), idle=True),
        kernel(original, "e", sources=(2,)),
    ]
    assert stands_for(kernels, original) == [("a",), ("b", "c", "d"), (), ("e",)]


def test_what_is_constant_is_nobodys(original):
    (last,) = stands_for([kernel(original, "e", fused=True)], original)
    assert last == ("a", "b", "c", "d", "e")


def test_names_that_are_used_twice_tell_nothing_until_all_are_named(write):
    original = Original(write("(float[n] x) => (float[n] y)", "[s] a = Exp (x) [s] y = Sin (a)"))
    assert original.nodes == {}
    assert original.name_all()
    assert len(original.nodes) == 2
    assert set(original.labels.values()) == {"s"}
    assert not original.name_all()
