"""Exponents are limited where they have to be, and nowhere else."""

import numpy as np
import pytest

onnx = pytest.importorskip("onnx", reason='exporting needs onnx: pip install "dream-agents[export]"')
ir = pytest.importorskip("onnx_ir", reason='exporting needs onnxscript: pip install "dream-agents[export]"')
pytest.importorskip("onnxscript")

from dream_agents.export.operators import LARGEST_EXPONENT, nan_to_num  # noqa: E402
from dream_agents.export.simplify import simplify  # noqa: E402


def limited(gain: float, limit: float = LARGEST_EXPONENT, normed: bool = True) -> bool:
    """Whether a limit stays in a graph after a normalisation of 100 numbers, and a product with ``gain``."""
    text = f"""
    <ir_version: 9, opset_import: ["" : 20]>
    graph (float[2,100] x) => (float[2,100] y)
    <float[100] one = {{{", ".join(["1"] * 100)}}}, float gain = {{{gain}}}, float limit = {{{limit}}}>
    {{
        n = {"LayerNormalization <axis = -1> (x, one)" if normed else "Tanh (x)"}
        s = Mul (n, gain)
        c = Clip (s, , limit)
        y = Exp (c)
    }}
    """
    model = ir.serde.deserialize_model(onnx.parser.parse_model(text))
    simplify(model)
    return "Clip" in [node.op_type for node in model.graph]


def test_a_normalisation_keeps_exponents_small():
    assert not limited(gain=2.0)  # at most 2 times the root of 99
    assert limited(gain=5.0)


def test_other_limits_stay():
    assert limited(gain=2.0, limit=1.0)
    assert limited(gain=2.0, normed=False)


@pytest.mark.parametrize("values", [(0.0, 0.0, 0.0), (None, None, None), (1.0, None, -2.0)])
def test_nan_to_num_is_pytorchs(values):
    import torch

    x = torch.tensor([1.5, -3e38, np.nan, np.inf, -np.inf])
    torch.testing.assert_close(nan_to_num(x, *values), torch.nan_to_num(x, *values))
