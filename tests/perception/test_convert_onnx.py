from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from recaster.perception.convert_onnx import convert_onnx

onnx = pytest.importorskip("onnx", reason="onnx is a build requirement, not installed here")


def graph(*nodes: object, **constants: np.ndarray) -> bytes:
    initializers = [onnx.numpy_helper.from_array(value, name) for name, value in constants.items()]
    value = onnx.helper.make_tensor_value_info
    inputs, outputs = [value("x", 1, None)], [value("y", 1, None)]
    return bytes(
        onnx.helper.make_model(onnx.helper.make_graph(nodes, "g", inputs, outputs, initializers)).SerializeToString()
    )


def test_a_batch_norm_is_folded_into_the_convolution_before_it() -> None:
    draw = np.random.default_rng(1)
    weight = draw.normal(size=(3, 5, 2, 2)).astype(np.float32)
    gain, shift, mean = (draw.normal(size=5).astype(np.float32) for _ in range(3))
    variance = draw.uniform(0.5, 2, 5).astype(np.float32)
    node = onnx.helper.make_node
    data = graph(
        node("ConvTranspose", ["x", "w"], ["a"], strides=[2, 2]),
        node("BatchNormalization", ["a", "gain", "shift", "mean", "variance"], ["b"], epsilon=1e-3),
        node("Relu", ["b"], ["y"]),
        w=weight,
        gain=gain,
        shift=shift,
        mean=mean,
        variance=variance,
    )
    tensors = convert_onnx(data)
    assert list(tensors) == ["000", "001"]
    x = torch.from_numpy(draw.normal(size=(2, 3, 4, 4)).astype(np.float32))
    plain = F.conv_transpose2d(x, torch.from_numpy(weight), stride=2)
    statistics = (torch.from_numpy(value) for value in (mean, variance, gain, shift))
    expected = F.batch_norm(plain, *statistics, eps=1e-3)
    folded = F.conv_transpose2d(x, *(torch.from_numpy(tensors[name].astype(np.float32)) for name in tensors), stride=2)
    torch.testing.assert_close(folded, expected, atol=1e-5, rtol=1e-5)


def test_an_operator_with_unknown_weights_is_refused() -> None:
    data = graph(onnx.helper.make_node("MatMul", ["x", "w"], ["y"]), w=np.zeros((2, 2), np.float32))
    with pytest.raises(ValueError, match="MatMul"):
        convert_onnx(data)
