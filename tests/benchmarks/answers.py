# SPDX-License-Identifier: Apache-2.0
"""The documents that the emulator answers with: a device of 156 qubits, results, and Pulser's device.

They are made by this file as a program: what it imports would count as memory of every process started afterwards.
"""

from __future__ import annotations

import dataclasses
import fcntl
import json
import subprocess
import sys
from pathlib import Path

from environment import BUILD, DEVICE, FRESNEL

__all__ = ["answers"]

SHOTS, BITS = 100_000, 100
LONGEST = 300.0


def answers() -> Path:
    """The directory of them; made once."""
    directory = BUILD / "answers"
    done = directory / "made"
    BUILD.mkdir(parents=True, exist_ok=True)
    with (BUILD / "answers.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not done.exists():
            directory.mkdir(exist_ok=True)
            subprocess.run([sys.executable, __file__, directory], check=True, timeout=LONGEST)
            done.touch()
    return directory


def _made() -> dict[str, bytes]:
    import numpy as np
    from pulser.devices import AnalogDevice
    from qiskit.primitives import BitArray, DataBin, PrimitiveResult, PubResult, SamplerPubResult

    from qrmi_qiskit.aer.snapshots import snapshot_files
    from qrmi_qiskit.codec import encode_result

    def sampled(shots: int, bits: int) -> bytes:
        array = BitArray.from_bool_array(np.random.default_rng(1).integers(0, 2, (shots, bits)).astype(bool))
        pub = SamplerPubResult(DataBin(shape=(), meas=array), metadata={"circuit_metadata": {}})
        return encode_result(PrimitiveResult([pub], metadata={"version": 2}))

    made = {"small": sampled(1024, 2), "large": sampled(SHOTS, BITS)}
    value = DataBin(evs=np.array(0.5), stds=np.array(0.01), shape=())
    made["estimator"] = encode_result(
        PrimitiveResult([PubResult(value, metadata={"shots": 4096})], metadata={"version": 2})
    )
    for name, file in zip(("configuration", "properties"), snapshot_files("fez"), strict=True):
        document = {"online_date": "2024-01-01T00:00:00Z", **json.loads(file.read_bytes()), "backend_name": DEVICE}
        made[name] = json.dumps(document).encode()
    made["pulser_device"] = dataclasses.replace(AnalogDevice, name=FRESNEL).to_abstract_repr().encode()
    return made


def main() -> None:
    directory = Path(sys.argv[1])
    for name, document in _made().items():
        (directory / f"{name}.json").write_bytes(document)


if __name__ == "__main__":
    main()
