"""Weights of a TensorFlow Lite graph, named by the output that needs them and numbered in the order of use.

The networks are written out as torch modules, so only weights are read here. An operator belongs to the first of the
graph's outputs that depends on it: the backbone to the first output, a later output owns its branch only.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from flatbuffers import flexbuffers  # type: ignore[import-untyped, unused-ignore]
from numpy.typing import NDArray
from tflite.BuiltinOperator import BuiltinOperator
from tflite.DimensionType import DimensionType
from tflite.Int32Vector import Int32Vector
from tflite.Model import Model
from tflite.Operator import Operator
from tflite.SparseIndexVector import SparseIndexVector
from tflite.SparsityParameters import SparsityParameters
from tflite.SubGraph import SubGraph
from tflite.TensorType import TensorType
from tflite.Uint8Vector import Uint8Vector
from tflite.Uint16Vector import Uint16Vector

Array = NDArray[Any]

_NAMES = {value: name for name, value in vars(BuiltinOperator).items() if isinstance(value, int)}
_DTYPES = {TensorType.FLOAT32: np.dtype("<f4"), TensorType.FLOAT16: np.dtype("<f2"), TensorType.INT32: np.dtype("<i4")}
_INDEX_VECTORS = {
    SparseIndexVector.Int32Vector: Int32Vector,
    SparseIndexVector.Uint16Vector: Uint16Vector,
    SparseIndexVector.Uint8Vector: Uint8Vector,
}
_WEIGHTLESS = {
    *("ADD", "DENSIFY", "DEPTH_TO_SPACE", "DEQUANTIZE", "MAX_POOL_2D", "MUL", "PAD", "RESHAPE", "RESIZE_BILINEAR"),
    *("STRIDED_SLICE", "TransformLandmarks", "TransformTensorBilinear"),
}


def convert_tflite(data: bytes) -> dict[str, Array]:
    """Tensors ``OUTPUT.000``, ``OUTPUT.001`` ... in the layouts of torch (OIHW for convolutions), in the precision of
    the file. A region cut out along landmarks also gives ``OUTPUT.subset`` (the landmarks it spans) and
    ``OUTPUT.axis`` (the two that lie on its horizontal axis), int64. Raises ValueError at an unknown operator.
    """
    graph = _Graph(data)
    tensors: dict[str, Array] = {}
    done: set[int] = set()
    for output in graph.outputs:
        section = graph.name(output)
        upstream = graph.upstream(output) - done
        done |= upstream
        weights: list[Array] = []
        for position in sorted(upstream):
            kind, operator = graph.operators[position]
            if kind == "Landmarks2TransformMatrix":
                options = flexbuffers.Loads(operator.CustomOptionsAsNumpy().tobytes())
                tensors[f"{section}.subset"] = np.array(options["subset_idxs"], np.int64)
                tensors[f"{section}.axis"] = np.array([options[f"{s}_rotation_idx"] for s in ("left", "right")])
            else:
                weights += _weights(graph, kind, operator)
        tensors |= {f"{section}.{index:03d}": weight for index, weight in enumerate(weights)}
    return tensors


def _weights(graph: _Graph, kind: str, operator: Operator) -> list[Array]:
    """An operator's own weights in the order of torch's parameters."""
    if kind in _WEIGHTLESS:
        return []
    constants = [graph.constant(int(index)) for index in operator.InputsAsNumpy()[1:]]
    if kind == "CONV_2D":
        return [constants[0].transpose(0, 3, 1, 2), constants[1]]
    if kind == "DEPTHWISE_CONV_2D":
        return [constants[0].transpose(3, 0, 1, 2), constants[1]]
    if kind == "PRELU":
        return [constants[0].reshape(-1)]
    raise ValueError(f"unexpected operator {kind}")


class _Graph:
    """The first subgraph of a model file: its operators, and its constants whatever way they are stored."""

    def __init__(self, data: bytes) -> None:
        self.model = Model.GetRootAs(data)
        self.graph: SubGraph = self.model.Subgraphs(0)
        self.outputs = [self.graph.Outputs(index) for index in range(self.graph.OutputsLength())]
        self.operators = list(self._read_operators())
        self.producer = {
            int(output): position
            for position, (_, operator) in enumerate(self.operators)
            for output in operator.OutputsAsNumpy()
        }

    def name(self, tensor: int) -> str:
        return str(self.graph.Tensors(tensor).Name().decode())

    def upstream(self, tensor: int) -> set[int]:
        """Positions of the operators that ``tensor`` depends on."""
        found: set[int] = set()
        waiting = [tensor]
        while waiting:
            position = self.producer.get(waiting.pop())
            if position is not None and position not in found:
                found.add(position)
                waiting += [int(index) for index in self.operators[position][1].InputsAsNumpy()]
        return found

    def constant(self, index: int) -> Array:
        """The value of a tensor that depends on no input, in the precision in which it is stored."""
        if index in self.producer:
            kind, operator = self.operators[self.producer[index]]
            if kind not in {"DEQUANTIZE", "DENSIFY"}:
                raise ValueError(f"{self.name(index)} is no constant")
            return self.constant(operator.Inputs(0))
        tensor = self.graph.Tensors(index)
        values = self.model.Buffers(tensor.Buffer()).DataAsNumpy().view(_DTYPES[tensor.Type()])
        shape = tuple(int(size) for size in tensor.ShapeAsNumpy())
        sparsity = tensor.Sparsity()
        return values.reshape(shape) if sparsity is None else _unpack(values, shape, sparsity)

    def _read_operators(self) -> Iterator[tuple[str, Operator]]:
        for position in range(self.graph.OperatorsLength()):
            operator = self.graph.Operators(position)
            code = self.model.OperatorCodes(operator.OpcodeIndex())
            kind = _NAMES[max(code.BuiltinCode(), code.DeprecatedBuiltinCode())]
            yield (code.CustomCode().decode() if kind == "CUSTOM" else kind), operator


@dataclass(frozen=True)
class Level:
    """One level of a sparse tensor's storage.

    ``size`` children at every node or, where that is None, at node ``n`` those that
    ``indices[segments[n] : segments[n + 1]]`` names (CSR).
    """

    size: int | None
    segments: NDArray[np.int64]
    indices: NDArray[np.int64]


def densify(values: Array, shape: tuple[int, ...], levels: list[Level], order: list[int], blocked: list[int]) -> Array:
    """The dense tensor of ``shape`` whose stored numbers are ``values``.

    The storage is a tree of ``levels``; ``order`` names the dimension that each divides. Dimension ``len(shape) + i``
    is the inside of the blocks that dimension ``blocked[i]`` is cut into (TensorFlow Lite schema, SparsityParameters).
    """
    nodes = np.zeros(1, np.int64)
    coordinates = np.zeros((1, len(order)), np.int64)
    block_size = np.ones(len(shape), np.int64)
    for level, dimension in zip(levels, order, strict=True):
        if level.size is not None:
            parents = np.repeat(np.arange(len(nodes)), level.size)
            index = np.tile(np.arange(level.size), len(nodes))
            nodes = nodes[parents] * level.size + index
            if dimension >= len(shape):
                block_size[blocked[dimension - len(shape)]] = level.size
        else:
            first, last = level.segments[nodes], level.segments[nodes + 1]
            parents = np.repeat(np.arange(len(nodes)), last - first)
            nodes = np.concatenate([np.arange(start, stop) for start, stop in zip(first, last, strict=True)])
            index = level.indices[nodes]
        coordinates = coordinates[parents]
        coordinates[:, dimension] = index
    place = coordinates[:, : len(shape)] * block_size
    for inner, dimension in enumerate(blocked, start=len(shape)):
        place[:, dimension] += coordinates[:, inner]
    dense = np.zeros(shape, values.dtype)
    dense[tuple(place.T)] = values[nodes]
    return dense


def _unpack(values: Array, shape: tuple[int, ...], sparsity: SparsityParameters) -> Array:
    order = [sparsity.TraversalOrder(index) for index in range(sparsity.TraversalOrderLength())]
    blocked = [sparsity.BlockMap(index) for index in range(sparsity.BlockMapLength())]
    levels: list[Level] = []
    for position in range(sparsity.DimMetadataLength()):
        metadata = sparsity.DimMetadata(position)
        dense = metadata.Format() == DimensionType.DENSE
        levels.append(
            Level(
                size=metadata.DenseSize() if dense else None,
                segments=_index_vector(metadata.ArraySegments(), metadata.ArraySegmentsType()),
                indices=_index_vector(metadata.ArrayIndices(), metadata.ArrayIndicesType()),
            )
        )
    return densify(values, shape, levels, order, blocked)


def _index_vector(table: Any, kind: int) -> NDArray[np.int64]:
    """The numbers of a union of index vectors; empty where there is none."""
    if kind == SparseIndexVector.NONE:
        return np.empty(0, np.int64)
    vector = _INDEX_VECTORS[kind]()
    vector.Init(table.Bytes, table.Pos)
    return np.asarray(vector.ValuesAsNumpy(), np.int64)
