# SPDX-License-Identifier: Apache-2.0
"""Uses each QPU of its job, and leaves its memory in its directory: by the kernel's hand where that writes there.

Says how: with a core_pattern that leads elsewhere, or where no core is allowed, the program reads its memory itself.
"""

import os
import resource
import sys
from pathlib import Path

from qrmi_core import QRMIService

qpus = QRMIService().resources()
sys.stdout.write(f"{[each.name for each in qpus]} {all(each.target() is not None for each in qpus)}\n")
pattern = Path("/proc/sys/kernel/core_pattern").read_text()
allowed = resource.getrlimit(resource.RLIMIT_CORE)[0] == resource.RLIM_INFINITY
by_the_kernel = allowed and not pattern.startswith(("|", "/"))
sys.stdout.write(f"a core by {'the kernel' if by_the_kernel else 'itself'}\n")
sys.stdout.flush()
if by_the_kernel:
    os.abort()

memory = os.open("/proc/self/mem", os.O_RDONLY)
with Path("core.own").open("wb") as core:
    for line in Path("/proc/self/maps").read_text().splitlines():
        start, end = (int(each, 16) for each in line.split()[0].split("-"))
        if "rw" in line.split()[1] and end - start < 2**28:
            core.write(os.pread(memory, end - start, start))
