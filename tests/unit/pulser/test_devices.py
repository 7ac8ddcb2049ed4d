# SPDX-License-Identifier: Apache-2.0
"""Devices from what `qrmi target NAME` printed."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from pulser.devices import AnalogDevice, DigitalAnalogDevice, MockDevice
from pulser_programs import rabi

from qrmi_core import ConfigurationError, Target
from qrmi_pulser import device
from qrmi_pulser.engine import PulserSimulator


@pytest.mark.parametrize("expected", [AnalogDevice, DigitalAnalogDevice, MockDevice])
def test_from_a_file_its_text_or_a_target(tmp_path: Path, expected: Any) -> None:
    text = expected.to_abstract_repr()
    file = tmp_path / "device.json"
    file.write_text(text)
    for source in (file, str(file), text, text.encode(), Target(text.encode())):
        assert device(source) == expected


def test_what_the_command_line_printed(tmp_path: Path, resource: PulserSimulator) -> None:
    command = [str(Path(sys.executable).with_name("qrmi")), "target", "pulser_analog"]
    printed = subprocess.run(command, capture_output=True, timeout=60, check=True).stdout
    (tmp_path / "device.json").write_bytes(printed)
    built = device(tmp_path / "device.json")
    assert built == AnalogDevice
    assert rabi(device=built).device == device(resource.target())


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ('{"name": "a",\n "x": }', r"line 2, column 7: Expecting value: a Pulser device as JSON was expected"),
        ("[]", "not a Pulser device: one has name, dimensions, channels"),
        ('{"name": "a"}', "take what `qrmi target NAME` prints for a Pulser QPU"),
        ('{"configuration": {}, "properties": {}}', r"target of a Qiskit resource, for qrmi_qiskit.QRMIBackend"),
        (b"\xff\xfe", "byte 0 is not UTF-8"),
        (b"[" * 100_000, "nested too deeply"),
    ],
)
def test_files_that_are_no_devices(tmp_path: Path, content: str | bytes, problem: str) -> None:
    file = tmp_path / "device.json"
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(ConfigurationError, match=rf"device.json: .*{problem}"):
        device(file)


def test_a_missing_file_says_how_to_write_it(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"cannot be read \(No such file or directory\); write it with `qrmi"):
        device(tmp_path / "device.json")
    with pytest.raises(ConfigurationError, match=r"cannot be read \(Is a directory\)"):
        device(tmp_path)


def test_a_device_that_pulser_refuses_is_named_with_the_reason() -> None:
    described = json.loads(AnalogDevice.to_abstract_repr())
    with pytest.raises(ConfigurationError, match=r"AnalogDevice is not a device .*: rydberg_level: 'sixty' is not"):
        device(json.dumps(described | {"rydberg_level": "sixty"}))
    with pytest.raises(ConfigurationError, match=r"AnalogDevice is not a device .*: KeyError: 1000"):
        device(json.dumps(described | {"rydberg_level": 1000}))
