# SPDX-License-Identifier: Apache-2.0
"""The gateway and its helper as processes: what `qrmi gateway serve` and `qrmi gateway helper` do.

Jobs wait for the gateway while it starts, so the usual ways to call the two do without typer, whose import takes as
long as all that they read.
"""

from __future__ import annotations

import functools
import gc
import logging
import mimetypes
import os
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

from qrmi_core.errors import UnsupportedFunction

__all__ = ["asked_for", "helper", "serve"]

LOG_FORMAT = "%(levelname)s %(name)s: %(message)s"


def asked_for(arguments: Sequence[str]) -> Callable[[], None] | None:
    """The service that these arguments of `qrmi gateway` are for; None for everything that typer is to look at."""
    match arguments:
        case ["serve" | "helper" as name]:
            config = None
        case ["serve" | "helper" as name, "--config", file] if file and not file.startswith("-"):
            config = Path(file)
        case _:
            return None
    return functools.partial(serve if name == "serve" else helper, config)


def serve(config: Path | None) -> None:
    """Serve as the gateway until a signal ends it.

    Raises:
        QRMIError: it cannot start, and why.
    """
    gc.disable()  # what is imported lives as long as the process: nobody needs to look through it for garbage
    mimetypes.knownfiles.clear()  # aiohttp reads them when it is imported, and the gateway sends no files
    try:
        import uvloop

        from qrmi_core.gateway import late_client

        late_client.postpone()
        from qrmi_core.gateway import server
        from qrmi_core.gateway.settings import load_gateway_settings
    except ModuleNotFoundError as error:
        raise UnsupportedFunction(
            f"`qrmi gateway serve` needs a package that is missing ({error.name}): "
            f"pip install 'qrmi-providers[gateway]'"
        ) from error
    file, settings = load_gateway_settings(config)
    logging.basicConfig(level=settings.log_level.upper(), format=LOG_FORMAT)
    uvloop.run(server.serve(file, settings, _listening))
    if any(not thread.daemon for thread in threading.enumerate() if thread is not threading.current_thread()):
        # A vendor is still being waited for in a thread; the journal says what it is asked, so nothing is lost.
        logging.shutdown()
        sys.stdout.flush()
        os._exit(0)


def _listening() -> None:
    from qrmi_core.gateway import late_client

    late_client.load()
    gc.freeze()
    gc.enable()


def helper(config: Path | None) -> None:
    """Serve as the gateway's root helper until a signal ends it.

    Raises:
        QRMIError: it cannot start, and why.
    """
    from qrmi_core.gateway import root_helper

    logging.basicConfig(level=logging.INFO, format=LOG_FORMAT)
    root_helper.serve(root_helper.load(config))
