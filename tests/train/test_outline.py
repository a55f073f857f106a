from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from recaster.nets.architecture import find_architecture
from recaster.train.execution import noise_batch
from recaster.train.footprint import Footprint
from recaster.train.options import TrainOptions
from recaster.train.outline import Case, outline, remedies, size_text

CPU, CUDA = torch.device("cpu"), torch.device("cuda")


def case(
    name: str, part: int = 1, device: torch.device = CPU, net: dict[str, object] | None = None, **train: object
) -> Case:
    architecture = find_architecture(name)
    return Case(architecture, architecture.options(**(net or {})), TrainOptions(**train), device, part)


def test_shapes_tell_what_a_real_step_takes() -> None:
    torch.set_num_threads(1)
    asked = case("mini", 3)
    net = asked.architecture.build(asked.net_options).train()
    (phase,) = asked.architecture.phases(net, torch.nn.ModuleDict(), asked.net_options, random_warp=True)
    footprint = Footprint(CPU)
    with footprint.watch(net.parameters()):
        batch = noise_batch(3, net.resolution, CPU, features=False)
        phase.losses(batch, 0.0).total.backward()
    assert outline(asked).memory.activations == pytest.approx(footprint.passing(), rel=0.03)


@pytest.mark.parametrize("name", ["h64", "h128", "df", "liaef128", "saehd", "amp", "quick96"])
def test_what_stays_is_weights_gradients_and_moments(name: str) -> None:
    said = outline(case(name))
    memory = said.memory
    assert memory.weights == memory.gradients == 4 * said.parameters
    # 16 bytes a weight with Adam or AdaBelief, 12 with RMSprop; a weight that two phases move has moments twice.
    assert memory.optimizer in {4 * said.parameters, 8 * said.parameters} or name in {"df", "liaef128"}
    assert memory.total == memory.weights + memory.gradients + memory.optimizer + memory.activations


def test_activations_grow_with_the_batch_in_a_straight_line() -> None:
    one, two, four = (outline(case("h64", part)).memory for part in (1, 2, 4))
    assert four.activations - two.activations == pytest.approx(2 * (two.activations - one.activations), rel=0.02)
    assert four.weights == one.weights


def test_options_that_cost_or_spare_memory() -> None:
    plain = outline(case("saehd", 2)).memory
    assert outline(case("saehd", 2, ema=0.99)).memory.weights == 2 * plain.weights
    assert outline(case("saehd", 2, checkpoint_activations=True)).memory.activations < 0.8 * plain.activations
    assert outline(case("saehd", 2, CUDA, optimizer_mode=2)).memory.optimizer == 0
    assert (
        outline(case("saehd", 2, optimizer_mode=2)).memory.optimizer == plain.optimizer
    )  # on the CPU it is RAM anyway
    assert outline(case("saehd", 2, freeze=("encoder",))).memory.gradients < plain.gradients
    gan = outline(case("saehd", 2, net={"gan_power": 0.1})).memory
    assert gan.weights > plain.weights and gan.activations > plain.activations


def test_faces_wait_on_the_device_or_in_memory() -> None:
    with_faces = replace(case("h64"), faces=100)
    assert outline(with_faces).memory.faces == 2 * 100 * 92 * 92 * 4
    away = replace(with_faces, device=CUDA, options=TrainOptions(faces_on="host"))
    assert outline(away).memory.faces == 0


def test_remedies_come_with_numbers_and_the_strongest_first() -> None:
    asked = case("saehd", 8, CUDA, {"gan_power": 0.1}, ema=0.99)
    memory = outline(asked).memory
    found = remedies(asked, memory, 0.75 * memory.total)
    text = "\n".join(found)
    for flag in (
        "--accumulate",
        "--checkpoint-activations",
        "--optimizer-mode 2",
        "--ema 0",
        "--resolution 96",
        "--d-dims 48",
    ):
        assert flag in text
    needs = [float(line.split(": ")[1].split()[0]) for line in found]
    assert all(size_text(memory.total) in line for line in found)
    assert "not enough" not in found[0]
    assert all(need < memory.total / 1e6 for need in needs)


def test_no_remedy_is_named_that_does_not_help() -> None:
    asked = case("mini", 1, checkpoint_activations=True)
    assert remedies(asked, outline(asked).memory, 1e6) == []


def test_sizes_are_written_for_people() -> None:
    assert size_text(5.14e9) == "5.1 GB" and size_text(340e6) == "340 MB"


def test_a_step_of_shapes_touches_no_real_memory() -> None:
    before = Footprint(CPU)
    with before.watch([]):
        outline(case("h64"))
    assert before.passing() < 100_000
