# SPDX-License-Identifier: Apache-2.0
"""The user's emulation configuration, decoded with the class of the emulator that runs it."""

from __future__ import annotations

import importlib
import json
import logging
from typing import TYPE_CHECKING, Any, cast

from pulser.backend import BitStrings, EmulationConfig

from qrmi_pulser.emulators import Emulator, foreign_options
from qrmi_pulser.reading import refusing

if TYPE_CHECKING:
    from pulser.backend import EmulatorBackend

__all__ = ["decode_configuration"]

# They would write files beside the engine's process; what is logged is the task's log anyway.
_FILE_OPTIONS = frozenset({"autosave_dt", "autosave_prefix", "log_file"})

_log = logging.getLogger(__name__)


def decode_configuration(
    data: bytes | None, backend: type[EmulatorBackend], chosen: Emulator, runs: int | None
) -> EmulationConfig[Any]:
    """The configuration as the emulator's own class, so that states and operators get its types.

    ``data`` is ``EmulationConfig.to_abstract_repr()``; without it bitstrings are measured at the end. ``runs``, when
    given, are the shots of every ``BitStrings`` observable that does not say its own number.

    Raises:
        InputError: it is malformed, or has an option that no emulator knows.
    """
    if data is None:
        data = EmulationConfig(observables=[BitStrings()]).to_abstract_repr(skip_validation=True).encode()
    with refusing(f"the emulation configuration cannot be used by {chosen.device_type}"):
        options = json.loads(data)
        _adapt(options, chosen)
        if runs is not None:
            options["default_num_shots"] = runs
        return cast("EmulationConfig[Any]", backend.config_type.from_abstract_repr(json.dumps(options)))


def _adapt(options: dict[str, Any], chosen: Emulator) -> None:
    """Take out what only other emulators understand, files, and GPUs that are not there."""
    gpus = options.pop("num_gpus_to_use", None)
    dropped = options.keys() & (foreign_options(chosen.device_type) | _FILE_OPTIONS)
    for name in sorted(dropped):
        _log.warning("option %s=%r has no effect with %s here", name, options.pop(name), chosen.device_type)
    if "gpu" in chosen.options:
        refused = options.get("gpu", gpus) == 0  # False, or no GPU of several
        options["gpu"] = not refused and bool(importlib.import_module("torch").cuda.is_available())
        options.setdefault("log_level", logging.WARNING)
