from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from recaster.errors import MissingError, UsageError
from recaster.nets.autoencoder import FaceNet, Reconstruction
from recaster.swap import trained
from recaster.swap.trained import TrainedSwapper, load_swapper
from recaster.types import Framing

CPU = torch.device("cpu")


class SmallNet(FaceNet):
    """One convolution, and batch normalisation that would mix the batch if the net were left in training mode."""

    def __init__(self, *, masks: bool = True, morph: float | None = None) -> None:
        super().__init__(16, Framing.WHOLE)
        self.morph = morph
        self.layers = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3, padding=1), torch.nn.BatchNorm2d(4))
        self.masks = masks

    def reconstruct(self, src: torch.Tensor, dst: torch.Tensor) -> Reconstruction:
        raise NotImplementedError

    def swap(self, dst: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor | None, torch.Tensor | None]:
        made = (3 if self.morph is None else self.morph) * self.layers(dst)
        mask = made[:, 3:] if self.masks else None
        return made[:, :3], mask, mask


@pytest.fixture
def crops() -> np.ndarray:
    return np.random.default_rng(1).random((5, 3, 16, 16), dtype=np.float32)


def swapper_of(net: FaceNet) -> TrainedSwapper:
    return TrainedSwapper(net, CPU, "model", "small", 7)


def test_a_batch_gives_what_its_crops_give_alone(crops: np.ndarray) -> None:
    torch.manual_seed(0)
    swapper = swapper_of(SmallNet())
    together = swapper.swap(crops)
    for index in range(len(crops)):
        alone = swapper.swap(crops[index : index + 1])
        assert np.abs(together.rgb[index] - alone.rgb[0]).max() < 1e-5
        assert together.mask is not None and alone.mask is not None
        assert np.abs(together.mask[index] - alone.mask[0]).max() < 1e-5


def test_results_are_float32_within_0_and_1(crops: np.ndarray) -> None:
    output = swapper_of(SmallNet()).swap(crops)
    assert output.rgb.dtype == np.float32 and output.rgb.shape == crops.shape
    assert output.rgb.min() == 0 and output.rgb.max() == 1, "the small net overshoots, so both ends must be met"


@pytest.mark.parametrize("masks", [True, False])
def test_the_descriptor_says_what_the_net_is(masks: bool) -> None:
    descriptor = swapper_of(SmallNet(masks=masks)).descriptor
    assert (descriptor.resolution, descriptor.framing) == (16, Framing.WHOLE)
    assert (descriptor.name, descriptor.architecture, descriptor.iteration) == ("model", "small", 7)
    assert descriptor.learned_mask is masks


def test_results_are_what_the_net_gives_and_in_row_order(crops: np.ndarray) -> None:
    torch.manual_seed(0)
    net = SmallNet().eval()
    with torch.no_grad():
        expected = net.swap(torch.from_numpy(crops))[0].clamp(0, 1).numpy()
    output = swapper_of(net).swap(np.asfortranarray(crops))
    assert np.abs(output.rgb - expected).max() < 1e-5
    assert output.rgb.flags["C_CONTIGUOUS"] and output.mask is not None and output.mask.flags["C_CONTIGUOUS"]


def loaded_with(monkeypatch: pytest.MonkeyPatch, net: FaceNet) -> None:
    found = SimpleNamespace(net=net, architecture="small", iteration=42)
    monkeypatch.setattr(trained, "load_net", lambda folder, device: found)


def test_a_net_that_can_stop_half_way_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, crops: np.ndarray) -> None:
    loaded_with(monkeypatch, SmallNet(morph=1.0))
    whole = load_swapper(tmp_path, CPU).swap(crops).rgb
    assert whole.max() > 0
    assert load_swapper(tmp_path, CPU, morph=0.0).swap(crops).rgb.max() == 0
    assert np.abs(load_swapper(tmp_path, CPU, 1).swap(crops).rgb - whole).max() == 0


@pytest.mark.parametrize(
    ("net", "morph", "problem"),
    [(None, 0.5, "small cannot stop half-way"), (1.0, 1.5, "from 0 to 1, got 1.5"), (1.0, float("nan"), "got nan")],
)
def test_morph_where_it_means_nothing_is_a_mistake(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, net: float | None, morph: float, problem: str
) -> None:
    loaded_with(monkeypatch, SmallNet(morph=net))
    with pytest.raises(UsageError, match=problem):
        load_swapper(tmp_path, CPU, morph)


def test_crops_of_another_size_are_refused(crops: np.ndarray) -> None:
    with pytest.raises(ValueError, match="16, 16"):
        swapper_of(SmallNet()).swap(crops[..., :8])


def test_load_takes_what_the_checkpoint_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = SimpleNamespace(net=SmallNet(), architecture="small", iteration=42)
    monkeypatch.setattr(trained, "load_net", lambda folder, device: loaded)
    descriptor = load_swapper(tmp_path, CPU).descriptor
    assert (descriptor.architecture, descriptor.iteration, descriptor.name) == ("small", 42, tmp_path.name)
    assert not loaded.net.training


@pytest.mark.parametrize("exists", [True, False])
def test_without_a_model_the_user_is_told_to_train(tmp_path: Path, exists: bool) -> None:
    folder = tmp_path / "model"
    if exists:
        folder.mkdir()
    with pytest.raises(MissingError, match="recast train"):
        load_swapper(folder, CPU)
