"""Weights of an ONNX graph of convolutions, as numbered tensors in the order in which the graph uses them."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

_WEIGHTLESS = {"Relu", "Add", "Sigmoid"}


def convert_onnx(data: bytes) -> dict[str, NDArray[Any]]:
    """``000`` the first convolution's weight, ``001`` its bias, and so on; batch norms are folded into the convolution
    before them. Raises ValueError at an operator that is neither a convolution, a batch norm, nor without weights.
    """
    import onnx
    from onnx import numpy_helper

    graph = onnx.load_from_string(data).graph
    constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    weights: list[NDArray[Any]] = []
    for node in graph.node:
        inputs = [constants[name] for name in node.input if name in constants]
        if node.op_type == "Conv":
            weights += inputs
        elif node.op_type == "ConvTranspose":
            weights += [inputs[0], np.zeros(inputs[0].shape[1], np.float32)]
        elif node.op_type == "BatchNormalization":
            epsilon = next(item.f for item in node.attribute if item.name == "epsilon")
            weights[-2:] = _fold(weights[-2], weights[-1], inputs, epsilon)
        elif node.op_type not in _WEIGHTLESS:
            raise ValueError(f"unexpected operator {node.op_type}")
    return {f"{index:03d}": tensor for index, tensor in enumerate(weights)}


def _fold(
    weight: NDArray[Any], bias: NDArray[Any], norm: list[NDArray[Any]], epsilon: float
) -> tuple[NDArray[Any], NDArray[Any]]:
    """One transposed convolution (weight ``(in, out, h, w)``) that does its batch norm's work too."""
    gain, shift, mean, variance = norm
    factor = gain / np.sqrt(variance + epsilon)
    return weight * factor[:, None, None], (bias - mean) * factor + shift
