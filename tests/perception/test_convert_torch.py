from __future__ import annotations

import io
import pickle
import struct
from collections import OrderedDict

import numpy as np
import pytest
import torch

from recaster.perception.convert_torch import convert_torch


def saved(content: object) -> bytes:
    file = io.BytesIO()
    torch.save(content, file, _use_new_zipfile_serialization=False)
    return file.getvalue()


def test_reads_what_torch_wrote() -> None:
    whole = torch.arange(24.0).reshape(2, 3, 4)
    state = OrderedDict(a=whole, b=whole[1, :, 1:3], c=whole.permute(2, 0, 1), d=torch.tensor(5.0), e=torch.empty(0, 3))
    read = convert_torch(saved(state))
    assert list(read) == list(state)
    for name, tensor in state.items():
        np.testing.assert_array_equal(read[name], tensor.numpy())


class Mischief:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return print, ("run on load",)


@pytest.mark.parametrize("content", [{"a": Mischief()}, {"a": torch.zeros(2, dtype=torch.int64)}])
def test_any_other_name_ends_the_reading(content: object, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(pickle.UnpicklingError, match="no place among weights"):
        convert_torch(saved(content))
    assert capsys.readouterr().out == ""


def test_a_file_that_ends_early_is_refused() -> None:
    data = saved({"a": torch.zeros(100)})
    with pytest.raises(ValueError, match="ends inside a storage"):
        convert_torch(data[:-4])


def test_a_tensor_outside_its_storage_is_refused() -> None:
    data = saved({"a": torch.zeros(3)})
    numbers = struct.pack("<q", 3) + b"\x00" * 12
    assert data.endswith(numbers)
    with pytest.raises(ValueError, match="outside its storage"):
        convert_torch(data.removesuffix(numbers) + struct.pack("<q", 2) + b"\x00" * 8)


def test_another_kind_of_file_is_refused() -> None:
    with pytest.raises(ValueError, match="not a torch file"):
        convert_torch(b"".join(pickle.dumps(value) for value in range(5)))
