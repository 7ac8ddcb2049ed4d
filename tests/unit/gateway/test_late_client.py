# SPDX-License-Identifier: Apache-2.0
"""aiohttp's server without its client at first, in processes of their own."""

from __future__ import annotations

import subprocess
import sys

import pytest

POSTPONED = """
import ssl, sys
from qrmi_core.gateway import late_client
late_client.postpone()
from aiohttp import hdrs, web
assert web.Application and hdrs.HOST
reads = ssl.SSLContext.set_default_verify_paths
"""
NOT_YET = "assert 'aiohttp.client' not in sys.modules\n"
LOADED = """
import aiohttp
from aiohttp import ClientSession, web as again
from importlib.metadata import version
assert (aiohttp.ClientSession, again) == (ClientSession, web)
assert aiohttp.__version__ == version("aiohttp")
assert ssl.SSLContext.set_default_verify_paths is reads
"""
AT_ONCE = "late_client.load()\nassert 'aiohttp.client' in sys.modules\n"


@pytest.mark.parametrize(
    "program",
    [
        f"{POSTPONED}{NOT_YET}{AT_ONCE}{LOADED}late_client.load()",
        f"{POSTPONED}{NOT_YET}import aiohttp\nassert aiohttp.TCPConnector\n{LOADED}",
        f"{POSTPONED}{NOT_YET}from aiohttp import ClientTimeout\n{LOADED}",
        f"import aiohttp\n{POSTPONED}{AT_ONCE}{LOADED}",
    ],
)
def test_the_client_is_there_when_it_is_used(program: str) -> None:
    subprocess.run([sys.executable, "-W", "error", "-c", program], check=True, timeout=60)
