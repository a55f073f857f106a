from __future__ import annotations

import re
from dataclasses import replace

from recaster.perception.manifest import read_manifest

MANIFEST = read_manifest()


def test_every_network_says_where_it_comes_from_and_on_what_terms() -> None:
    assert list(MANIFEST) == ["centerface", "mtcnn", "blazeface", "facemesh"]
    for network in MANIFEST.values():
        assert re.fullmatch(r"[a-z0-9-]+==[0-9.]+", network.carrier)
        assert network.license in {"MIT", "Apache-2.0", "BSD-3-Clause", "CC0-1.0"}
        assert network.purpose and network.authors and network.training_data and network.license_file
        assert network.files
        assert all(re.fullmatch(r"[0-9a-f]{64}", digest) for digest in network.files.values())


def test_a_stamp_changes_with_the_sum() -> None:
    network = MANIFEST["mtcnn"]
    changed = replace(network, files={**network.files, "facenet_pytorch/data/pnet.pt": "0" * 64})
    assert changed.stamp != network.stamp
    assert replace(network).stamp == network.stamp
