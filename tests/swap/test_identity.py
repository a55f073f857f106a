from __future__ import annotations

import numpy as np
import pytest

from recaster.swap.identity import IdentitySwapper, ellipse_mask
from recaster.types import Framing


@pytest.fixture
def crops() -> np.ndarray:
    return np.random.default_rng(0).random((3, 3, 32, 32), dtype=np.float32)


def test_returns_its_input_and_no_mask(crops: np.ndarray) -> None:
    output = IdentitySwapper(32).swap(crops)
    assert np.array_equal(output.rgb, crops)
    assert output.mask is None and output.mask_dst is None


def test_the_result_is_a_copy(crops: np.ndarray) -> None:
    before = crops.copy()
    IdentitySwapper(32).swap(crops).rgb[:] = 0
    assert np.array_equal(crops, before)


def test_with_an_ellipse_it_has_a_mask_for_each_crop(crops: np.ndarray) -> None:
    swapper = IdentitySwapper(32, Framing.WHOLE, ellipse=True)
    output = swapper.swap(crops)
    assert output.mask is not None and output.mask.shape == (3, 1, 32, 32)
    assert swapper.descriptor.learned_mask
    assert swapper.descriptor.framing is Framing.WHOLE
    assert swapper.descriptor.resolution == 32


def test_the_ellipse_has_its_axes_and_a_soft_edge() -> None:
    mask = ellipse_mask(200, width=0.5, height=0.8)
    assert mask.max() == 1 and mask[0].max() == 0 and mask[:, 0].max() == 0
    assert mask[100].sum() == pytest.approx(100, abs=1)
    assert mask[:, 100].sum() == pytest.approx(160, abs=1)
    assert np.allclose(mask, mask[::-1]) and np.allclose(mask, mask[:, ::-1])
    assert ((mask > 0) & (mask < 1)).sum() > 100
