"""The network "Face Mesh with attention" (Grishchenko, Ablavatski, Kartynnik, Raveendran, Grundmann 2020, "Attention
Mesh: High-fidelity Face Mesh Prediction in Real-time"): a mesh of the whole face, then the lips, eyes and irises looked
at again in crops of an early feature map that follow the mesh's own points.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from recaster.perception.weights import fill, load_tensors

INPUT_SIZE = 192
"""Side of the input picture, px."""
MESH_POINTS = 468
DENSE_POINTS = 478
"""The mesh, then five points of the iris that is left in the picture and five of the other."""

_STEP = 4
"""Input pixels to one pixel of the feature map that the regions are cut from."""
_REGION = 16
"""Side of a region's crop of that map."""
_REGION_MARGIN = 1.5
"""Side of a region's crop over that of the box of its points."""
_EYE_CONTOUR = 16
"""An eye's first points are its contour, whose depth the iris takes."""


class Residual(nn.Module):
    """3×3 depthwise and 1×1 convolution beside a shortcut; with stride 2 the shortcut is a maximum, and channels that
    the input does not have are zero in it.
    """

    def __init__(self, channels: int, out_channels: int | None = None, stride: int = 1) -> None:
        super().__init__()
        out_channels = out_channels or channels
        self.stride, self.new_channels = stride, out_channels - channels
        self.depthwise = nn.Conv2d(channels, channels, 3, stride, 1 if stride == 1 else 0, groups=channels)
        self.pointwise = nn.Conv2d(channels, out_channels, 1)
        self.activation = nn.PReLU(out_channels)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) to (N, out channels, H / stride, W / stride)."""
        if self.stride == 1:
            y = self.pointwise(self.depthwise(x))
        else:
            y = self.pointwise(self.depthwise(F.pad(x, (0, 1, 0, 1))))
            x = F.max_pool2d(x, 2)
        if self.new_channels:
            x = F.pad(x, (0, 0, 0, 0, 0, self.new_channels))
        activated: Tensor = self.activation(y.add_(x))
        return activated


def _stage(channels: int, out_channels: int) -> list[nn.Module]:
    return [Residual(channels), Residual(channels), Residual(channels, out_channels, stride=2)]


def _region_trunk() -> nn.Sequential:
    """(N, 32, 16, 16) to (N, 128, 4, 4)."""
    return nn.Sequential(*_stage(32, 64), *_stage(64, 128))


def _neck() -> list[nn.Module]:
    """(N, 128, H, W) to (N, 32, H, W)."""
    return [Residual(128), Residual(128), nn.Conv2d(128, 32, 1), nn.PReLU(32), Residual(32)]


def _region_head(points: int) -> nn.Sequential:
    """(N, 128, 4, 4) to (N, points × 2, 1, 1)."""
    return nn.Sequential(*_stage(128, 128), *_neck(), nn.Conv2d(32, points * 2, 2))


class Region(nn.Module):
    """A part of the face that is looked at again: ``points`` of the mesh, and an iris where there is one."""

    subset: Tensor
    axis: Tensor

    def __init__(self, points: int, iris: bool) -> None:
        super().__init__()
        self.trunk = _region_trunk()
        self.head = _region_head(points)
        self.iris_head = _region_head(5) if iris else None
        self.register_buffer("subset", torch.zeros(points, dtype=torch.long))
        self.register_buffer("axis", torch.zeros(2, dtype=torch.long))

    def forward(self, features: Tensor, mesh: Tensor) -> tuple[Tensor, Tensor | None]:
        """Better places for the subset ``(N, points, 2)`` and the iris ``(N, 5, 2)``, px of the input picture.

        ``features`` ``(N, 32, 48, 48)``, ``mesh`` ``(N, 468, 3)`` px of the input picture.
        """
        linear, shift = self.place(mesh[:, :, :2] / _STEP)
        crop = self.trunk(_cut(features, linear, shift))
        back = linear.transpose(1, 2)
        refined = self.head(crop).reshape(len(mesh), -1, 2) @ back + shift[:, None] * _STEP
        if self.iris_head is None:
            return refined, None
        return refined, self.iris_head(crop).reshape(len(mesh), -1, 2) @ back + shift[:, None] * _STEP

    def place(self, mesh: Tensor) -> tuple[Tensor, Tensor]:
        """The matrix ``(N, 2, 2)`` and shift ``(N, 2)`` from pixels of the crop to those of the feature map.

        The crop is level with the axis and holds the box of the subset with a margin. ``mesh`` ``(N, 468, 2)`` is in
        pixels of the map.
        """
        along = mesh[:, self.axis[1]] - mesh[:, self.axis[0]]
        angle = torch.atan2(along[:, 1], along[:, 0])
        cosine, sine = torch.cos(angle), torch.sin(angle)
        turn = torch.stack([cosine, -sine, sine, cosine], 1).reshape(-1, 2, 2)
        level = mesh[:, self.subset] @ turn
        low, high = level.amin(1), level.amax(1)
        linear = turn * ((high - low) * (_REGION_MARGIN / _REGION))[:, None, :]
        centre = (turn @ ((low + high) / 2)[:, :, None])[:, :, 0]
        return linear, centre - linear.sum(2) * (_REGION / 2)


def _cut(features: Tensor, linear: Tensor, shift: Tensor) -> Tensor:
    """The crops ``(N, C, 16, 16)`` of a map; zero where a pixel lies outside the map's outermost centres."""
    height, width = features.shape[2:]
    steps = torch.arange(_REGION, device=features.device, dtype=features.dtype) + 0.5
    grid = torch.stack(torch.meshgrid(steps, steps, indexing="xy"), -1)
    place = (grid.reshape(1, -1, 2) @ linear.transpose(1, 2) + shift[:, None] - 0.5).reshape(-1, _REGION, _REGION, 2)
    place = place * place.new_tensor([2.0 / (width - 1), 2.0 / (height - 1)]) - 1
    crop = F.grid_sample(features, place, mode="bilinear", padding_mode="zeros", align_corners=True)
    return crop * (place.abs() <= 1).all(-1)[:, None]


class FaceMeshNet(nn.Module):
    """(N, 3, 192, 192) RGB 0..1, a level face that fills two thirds, to its points."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 16, 3, 2)
        self.early = nn.Sequential(nn.PReLU(16), *_stage(16, 32))
        self.late = nn.Sequential(*_stage(32, 64), *_stage(64, 128), *_stage(128, 128), *_stage(128, 128), *_neck())
        self.mesh = nn.Conv2d(32, MESH_POINTS * 3, 3)
        self.presence = nn.Conv2d(32, 1, 3)
        self.lips = Region(80, iris=False)
        self.left_eye = Region(71, iris=True)
        self.right_eye = Region(71, iris=True)

    def forward(self, picture: Tensor) -> tuple[Tensor, Tensor]:
        """The dense points ``(N, 478, 3)`` and the probability ``(N,)`` that there is a face at all.

        Points are in pixels of the input picture, z in the same unit, smaller is nearer.
        """
        features = self.early(self.stem(F.pad(picture, (0, 1, 0, 1))))
        whole = self.late(features)
        mesh = self.mesh(whole).reshape(-1, MESH_POINTS, 3)
        irises = mesh.new_empty(len(mesh), DENSE_POINTS - MESH_POINTS, 3)
        dense = torch.cat([mesh, irises], 1)
        first_iris = MESH_POINTS
        for region in (self.lips, self.left_eye, self.right_eye):
            refined, iris = region(features, mesh)
            dense[:, region.subset, :2] = refined
            if iris is not None:
                dense[:, first_iris : first_iris + 5, :2] = iris
                dense[:, first_iris : first_iris + 5, 2] = mesh[:, region.subset[:_EYE_CONTOUR], 2].mean(1)[:, None]
                first_iris += 5
        return dense, self.presence(whole).reshape(-1).sigmoid()


def load_net() -> FaceMeshNet:
    """The network with its pretrained weights, on the CPU. Raises MissingError."""
    net, tensors = FaceMeshNet(), load_tensors("facemesh")
    fill([net.stem, net.early, net.late, net.mesh], tensors, "output_mesh_identity")
    fill([net.presence], tensors, "conv_faceflag")
    for name in ("lips", "left_eye", "right_eye"):
        region: Region = getattr(net, name)
        fill([region.trunk, region.head], tensors, f"output_{name}")
        region.subset.copy_(tensors[f"output_{name}.subset"])
        region.axis.copy_(tensors[f"output_{name}.axis"])
        if region.iris_head is not None:
            fill([region.iris_head], tensors, f"output_{name.replace('eye', 'iris')}")
    return net.eval()
