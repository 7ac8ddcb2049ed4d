# SPDX-License-Identifier: Apache-2.0
"""Resources whose acquisition a test can watch and hinder; what happens is written into the file $ACQUISITIONS."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from pathlib import Path

from tiny_engine import TinyEngine

from qrmi_core import JobContext, ResourceUnavailable


def record(event: str) -> None:
    with Path(os.environ["ACQUISITIONS"]).open("a") as file:
        file.write(f"{event}\n")


class Watched(TinyEngine):
    """Its acquisitions are recorded; the resource's name says what goes wrong."""

    type = "watched"

    @classmethod
    def embedded(cls) -> Mapping[str, Mapping[str, str]]:
        names = ("watched", "slow_to_acquire", "slow_to_release", "refusing", "not_released", "offline")
        return {name: {} for name in names}

    @classmethod
    def from_environment(cls, name: str, values: Mapping[str, str], context: JobContext) -> Watched:
        return cls(name, values, context)

    def missing_packages(self) -> list[str]:
        return ["no_such_package"] if self.name == "offline" else []

    def acquire(self) -> str:
        record(f"acquire {self.name}")
        if self.name == "slow_to_acquire":
            time.sleep(60)
        if self.name == "refusing":
            raise ResourceUnavailable("it is closed on Sundays")
        return super().acquire()

    def release(self, acquisition_token: str) -> None:
        record(f"release {self.name}")
        if self.name == "not_released":
            raise ResourceUnavailable("the vendor does not answer")
        super().release(acquisition_token)
        if self.name == "slow_to_release":
            time.sleep(1)
            record(f"released {self.name}")
