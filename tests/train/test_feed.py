from __future__ import annotations

import json
import threading
from dataclasses import fields, replace
from itertools import pairwise, product
from typing import Any

import pytest
import torch

from recaster.errors import UsageError
from recaster.faces.faceset import FaceSet
from recaster.nets.architecture import Batch, SampleNeeds
from recaster.train.feed import Feed, dst_augmentation, pretraining_options, src_augmentation
from recaster.train.options import TrainOptions
from recaster.train.samples import FaceSamples
from recaster.types import Framing

CPU = torch.device("cpu")
NEEDS = SampleNeeds()
YAW: tuple[dict[str, Any], ...] = ({}, {"sort_by_yaw": True}, {"uniform_yaw": True})

Pair = tuple[FaceSamples, FaceSamples]


@pytest.fixture(scope="module")
def pairs(facesets: tuple[FaceSet, FaceSet]) -> dict[bool, Pair]:
    """Source and target, on the device and on the host."""

    def load(faces: FaceSet, on_host: bool) -> FaceSamples:
        where = "host" if on_host else "device"
        return FaceSamples.load(faces, Framing.FULL, 32, CPU, features=True, faces_on=where)  # type: ignore[arg-type]

    return {on_host: (load(facesets[0], on_host), load(facesets[1], on_host)) for on_host in (False, True)}


@pytest.fixture(scope="module")
def samples(pairs: dict[bool, Pair]) -> Pair:
    return pairs[False]


def feed_of(samples: Pair, size: int = 4, needs: SampleNeeds = NEEDS, **options: Any) -> Feed:
    return Feed(*samples, TrainOptions(**options), needs, size, CPU)


def equal(first: Batch, second: Batch) -> bool:
    pairs = [(getattr(first, field.name), getattr(second, field.name)) for field in fields(Batch)]
    return all((a is None and b is None) or torch.equal(a, b) for a, b in pairs)


def test_a_batch_has_the_shapes_that_architectures_expect(samples: Pair) -> None:
    feed = feed_of(samples, 3, replace(NEEDS, features=True))
    batch = feed.next(0)
    for picture in (batch.warped_src, batch.target_src, batch.warped_dst, batch.target_dst):
        assert picture.shape == (3, 3, 32, 32) and picture.dtype == torch.float32
        assert float(picture.min()) >= 0 and float(picture.max()) <= 1
    assert batch.features_src is not None and batch.features_dst is not None
    for mask in (batch.mask_src, batch.mask_dst, batch.features_src, batch.features_dst):
        assert mask.shape == (3, 1, 32, 32)
    assert feed.waited > 0


def test_features_come_only_where_they_are_needed(samples: Pair) -> None:
    assert feed_of(samples).next(0).features_src is None
    bare = replace(samples[0], pictures=samples[0].pictures[..., :4])
    with pytest.raises(ValueError, match="load the faces with features"):
        feed_of((bare, samples[1]), needs=replace(NEEDS, features=True))


@pytest.mark.parametrize(("on_host", "replay", "order"), list(product((False, True), (0, 3), YAW)))
def test_a_restored_feed_goes_on(pairs: dict[bool, Pair], on_host: bool, replay: int, order: dict[str, Any]) -> None:
    needs = replace(NEEDS, replay_every=replay)
    for done in (0, 1, 5, 6, 7):
        feed = feed_of(pairs[on_host], 4, needs, seed=3, random_hsv=0.1, **order)
        for iteration in range(done):
            feed.next(iteration)
        state = json.loads(json.dumps(feed.state()))
        expected = [feed.next(iteration) for iteration in range(done, done + 4)]
        other = feed_of(pairs[on_host], 4, needs, seed=8, random_hsv=0.1, **order)
        other.next(0)
        other.restore(state)
        assert other.state() == state
        for iteration, batch in enumerate(expected, done):
            assert equal(other.next(iteration), batch)
        assert other.state() == feed.state()


@pytest.mark.parametrize("order", YAW)
def test_where_the_faces_wait_changes_nothing(pairs: dict[bool, Pair], order: dict[str, Any]) -> None:
    device, host = (feed_of(pairs[on_host], 4, replace(NEEDS, replay_every=3), **order) for on_host in (False, True))
    for iteration in range(7):
        assert equal(device.next(iteration), host.next(iteration))
    assert device.state() == host.state()


def test_the_next_faces_are_collected_while_the_caller_computes(
    pairs: dict[bool, Pair], monkeypatch: pytest.MonkeyPatch
) -> None:
    src, dst = (replace(side) for side in pairs[True])
    takers: list[str] = []
    take = FaceSamples.take

    def spied(self: FaceSamples, rows: torch.Tensor) -> torch.Tensor:
        if self is src or self is dst:
            takers.append(threading.current_thread().name)
        return take(self, rows)

    monkeypatch.setattr(FaceSamples, "take", spied)
    feed = feed_of((src, dst))
    feed.next(0)
    assert feed._ahead is not None and feed._ahead.exception(timeout=20) is None
    assert len(takers) == 4 and all(name.startswith("samples") for name in takers)


def test_what_goes_wrong_ahead_is_told(pairs: dict[bool, Pair], monkeypatch: pytest.MonkeyPatch) -> None:
    feed = feed_of(pairs[True])
    monkeypatch.setattr(FaceSamples, "take", lambda self, rows: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        feed.next(0)


def test_every_nth_batch_is_the_one_before_unwarped(samples: Pair) -> None:
    feed = feed_of(samples, needs=replace(NEEDS, replay_every=3), color_transfer="lct", random_hsv=0.2)
    batches = [feed.next(iteration) for iteration in range(8)]
    for iteration, (before, batch) in enumerate(pairwise(batches), 1):
        replayed = replace(before, warped_src=before.target_src, warped_dst=before.target_dst)
        assert equal(batch, replayed) == (iteration % 3 == 0)
    assert not torch.equal(batches[0].warped_src, batches[0].target_src), "there was none before the first"


@pytest.mark.parametrize("transfer", ["none", "match", "rct", "sot"])
@pytest.mark.parametrize("of", [2, 3])
def test_parts_together_are_the_batch_of_one_process(samples: Pair, transfer: str, of: int) -> None:
    options = TrainOptions(color_transfer=transfer, random_hsv=0.1, uniform_yaw=True)
    needs = SampleNeeds(features=True, replay_every=2)
    whole = Feed(*samples, options, needs, 7, CPU)
    parts = [Feed(*samples, options, needs, 7, CPU, part=(index, of)) for index in range(of)]
    for iteration in range(3):
        batch, shares = whole.next(iteration), [part.next(iteration) for part in parts]
        for field in fields(Batch):
            together = torch.cat([getattr(share, field.name) for share in shares])
            assert torch.allclose(together, getattr(batch, field.name), atol=1e-6), field.name
    assert all(part.state() == whole.state() for part in parts)


def test_a_batch_too_small_to_be_shared_is_refused(samples: Pair) -> None:
    with pytest.raises(UsageError, match=r"2 faces .* 3 processes.*batch_size to 3"):
        Feed(*samples, TrainOptions(), NEEDS, 2, CPU, part=(0, 3))


def test_options_may_change_on_the_way(samples: Pair) -> None:
    feed = feed_of(samples, needs=replace(NEEDS, replay_every=3))
    for iteration in range(5):
        feed.next(iteration)
    changed: tuple[dict[str, Any], ...] = ({"random_warp": False}, {"uniform_yaw": True}, {"color_transfer": "none"})
    for options in changed:
        first, second = (feed_of(samples, seed=seed, needs=NEEDS, **options) for seed in (0, 1))
        first.restore(feed.state())
        second.restore(feed.state())
        assert equal(first.next(5), second.next(5))


@pytest.mark.parametrize("transfer", ["match", "rct", "lct", "mkl", "idt", "sot"])
def test_transferred_colors_bring_the_source_to_the_target(samples: Pair, transfer: str) -> None:
    def difference(kind: str) -> tuple[float, float]:
        batch = feed_of(samples, 6, color_transfer=kind, seed=2).next(0)
        mask = (batch.mask_src, batch.mask_dst) if transfer == "match" else (torch.ones_like(batch.mask_src),) * 2
        src, warped, dst = (
            (picture * weight).sum((2, 3)) / weight.sum((2, 3))
            for picture, weight in zip(
                (batch.target_src, batch.warped_src, batch.target_dst), (mask[0], mask[0], mask[1]), strict=True
            )
        )
        return float((src - dst).abs().mean()), float((warped - src).abs().mean())

    own, _ = difference("none")
    left, apart = difference(transfer)
    assert left < (0.5 if transfer == "idt" else 0.25) * own
    assert apart < 0.03, "input and target get the same colors"


def test_jitter_is_for_the_source_s_input_alone(samples: Pair) -> None:
    plain, jittered = (feed_of(samples, color_transfer="none", random_hsv=amount).next(0) for amount in (0.0, 0.3))
    for name in ("target_src", "target_dst", "warped_dst", "mask_src"):
        assert torch.equal(getattr(plain, name), getattr(jittered, name))
    change = (plain.warped_src - jittered.warped_src).abs().amax((1, 2, 3))
    assert bool((change > 0.01).all())


def test_without_jitter_no_random_number_is_drawn_for_it(samples: Pair) -> None:
    plain, jittered = feed_of(samples), feed_of(samples, random_hsv=0.1)
    plain.next(0), jittered.next(0)
    assert plain.state()["augmentation"] != jittered.state()["augmentation"]


def test_faces_that_look_the_other_way_are_dealt_mirrored(samples: Pair) -> None:
    halved = torch.zeros_like(samples[0].pictures)
    halved[:, :, : halved.shape[2] // 2] = 255
    src, dst = (replace(side, pictures=halved, yaw=abs(side.yaw) + 2) for side in samples)
    for target, brighter in ((dst, "left"), (replace(dst, yaw=-dst.yaw), "right")):
        feed = feed_of((src, target), 6, sort_by_yaw=True, random_flip=False, color_transfer="none")
        batch = feed.next(0)
        left, right = batch.target_src.split(16, dim=3)
        assert bool((left.mean((1, 2, 3)) > right.mean((1, 2, 3))).all()) == (brighter == "left")
        assert bool((left.mean((1, 2, 3)) < right.mean((1, 2, 3))).all()) == (brighter == "right")
        assert bool((batch.mask_src.split(16, dim=3)[0].mean((1, 2, 3)) > 0.5).all()) == (brighter == "left")
        left, right = batch.target_dst.split(16, dim=3)
        assert bool((left.mean((1, 2, 3)) > right.mean((1, 2, 3))).all()), "the target is dealt as it is"


def test_options_reach_the_augmentation() -> None:
    usual = dst_augmentation(TrainOptions(), NEEDS)
    assert (usual.flip, usual.scale, usual.warp) == (0.4, (0.95, 1.05), "independent")
    assert src_augmentation(TrainOptions(), NEEDS) == usual
    wide = SampleNeeds(scale=(0.87, 1.15))
    assert dst_augmentation(TrainOptions(src_scale=-30), wide).scale == (0.87, 1.15)
    assert src_augmentation(TrainOptions(src_scale=-30), wide).scale == pytest.approx((0.57, 0.85))
    assert dst_augmentation(TrainOptions(random_flip=False), NEEDS).flip == 0
    assert src_augmentation(TrainOptions(random_flip=False), NEEDS).flip == 0
    assert src_augmentation(TrainOptions(random_flip_src=False), NEEDS).flip == 0
    assert dst_augmentation(TrainOptions(random_flip_src=False), NEEDS).flip == 0.4
    assert dst_augmentation(TrainOptions(random_warp=False), NEEDS).warp == "off"
    assert dst_augmentation(TrainOptions(warp="transposed"), NEEDS).warp == "transposed"


def test_pretraining_is_calm_mirrored_and_uniform(samples: Pair) -> None:
    asked = TrainOptions(pretrain="many", sort_by_yaw=True, random_flip_src=False, random_hsv=0.1, iterations=9, seed=5)
    options = pretraining_options(asked)
    assert (options.random_warp, options.random_flip, options.random_flip_src) == (False, True, True)
    assert (options.uniform_yaw, options.sort_by_yaw, options.random_hsv) == (True, False, 0.0)
    assert (options.iterations, options.seed, options.pretrain) == (9, 5, "many")
    many = samples[0], samples[0]
    batch = Feed(*many, options, NEEDS, 4, CPU).next(0)
    assert torch.equal(batch.warped_src, batch.target_src)
    assert not torch.equal(batch.target_src, batch.target_dst), "each side draws for itself"
