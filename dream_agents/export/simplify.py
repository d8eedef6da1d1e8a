"""ONNX graphs without what they do twice or for nothing: a decision's time goes to the number of nodes."""

from __future__ import annotations

from typing import Any

import numpy as np

from dream_agents.export.operators import LARGEST_EXPONENT

#: the square of its exponential is a float32
_LARGEST_HARMLESS = 43.0
#: operators whose outputs are some of their first input's numbers
_MOVES = {"Slice", "Squeeze", "Unsqueeze", "Reshape", "Transpose", "Identity", "Gather", "Split", "Expand"}


def simplify(model: Any) -> None:
    """Leave out what a graph does twice or for nothing.

    The exporter's own optimisation also searches for patterns that are not here, which takes most of its time.

    :param model: an ``onnx_ir.Model``; it is changed
    """
    import onnx_ir.passes.common as passes
    from onnxscript import optimizer

    optimizer.fold_constants(model)
    for one in (
        passes.LiftConstantsToInitializersPass,
        passes.DeduplicateInitializersPass,
        passes.IdentityEliminationPass,
        passes.CommonSubexpressionEliminationPass,
        passes.CommonSubexpressionEliminationPass,  # what the first one made equal
        passes.RemoveUnusedNodesPass,
    ):
        one()(model)
    if _leave_out_limits(model.graph):
        passes.RemoveUnusedNodesPass()(model)


def _leave_out_limits(graph: Any) -> int:
    """Leave out the limits of exponents that a normalisation keeps small enough; gives their number."""
    found = 0
    for node in graph:
        if node.op_type != "Clip" or len(node.inputs) < 3 or node.inputs[1] is not None:
            continue
        limit = _constant(node.inputs[2])
        if limit is None or limit.size != 1 or float(limit.reshape(())) != LARGEST_EXPONENT:
            continue
        bound = _bound(node.inputs[0])
        if bound is not None and bound.max() < _LARGEST_HARMLESS:
            node.outputs[0].replace_all_uses_with(node.inputs[0])
            found += 1
    return found


def _bound(value: Any) -> np.ndarray | None:
    """What a value's size can't exceed, whatever a graph's inputs are: it broadcasts to the value; None if unknown.

    No number of a layer's ``n`` normalised ones is larger than the root of ``n - 1``.
    """
    node = value.producer() if value is not None else None
    if node is None:
        return None
    if node.op_type in _MOVES:
        bound = _bound(node.inputs[0])
        return None if bound is None else bound.max(keepdims=True).reshape(1)
    if node.op_type == "LayerNormalization":
        return _bound_of_normed(node) if value is node.outputs[0] else None
    if node.op_type in {"Add", "Mul"}:
        for one, other in (node.inputs, reversed(node.inputs)):
            constant = _constant(one)
            bound = _bound(other)
            if constant is not None and bound is not None:
                return bound + np.abs(constant) if node.op_type == "Add" else bound * np.abs(constant)
    return None


def _bound_of_normed(node: Any) -> np.ndarray | None:
    shape = node.inputs[0].shape
    size = None if shape is None else shape[-1]
    axis = node.attributes.get("axis")
    gain = _constant(node.inputs[1])
    offset = _constant(node.inputs[2]) if len(node.inputs) > 2 else np.zeros(1)
    if not isinstance(size, int) or gain is None or offset is None:
        return None
    if axis is not None and axis.as_int() not in (-1, len(shape) - 1):
        return None
    bound: np.ndarray = np.abs(gain) * (size - 1) ** 0.5 + np.abs(offset)
    return bound


def _constant(value: Any) -> np.ndarray | None:
    if value is None or value.const_value is None:
        return None
    return np.asarray(value.const_value.numpy())
