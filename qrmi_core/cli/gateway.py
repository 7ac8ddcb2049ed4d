# SPDX-License-Identifier: Apache-2.0
"""`qrmi gateway`: the service that grants leases to jobs."""

from __future__ import annotations

import contextlib
import gc
import logging
import os
import ssl
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer

from qrmi_core.cli import gateway_helper
from qrmi_core.errors import UnsupportedFunction

__all__ = ["add_to"]


def add_to(app: typer.Typer) -> None:
    """Add the group."""
    group = typer.Typer(help="The service that grants QPUs to jobs, on the host of slurmctld or beside it.")
    group.command("serve")(serve)
    gateway_helper.add_to(group)
    app.add_typer(group, name="gateway", no_args_is_help=True)


def serve(
    config: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="gateway.json; by default QRMI_GATEWAY_CONFIG, then the site's."),
    ] = None,
) -> None:
    """Serve until SIGTERM; SIGHUP reads the configuration files again. Logs go to stderr.

    Leases survive a restart, and a crash at any moment: what the journal holds is taken up by the next start.
    """
    with _quick_imports():
        try:
            import aiohttp  # noqa: F401
            import uvloop
        except ImportError as error:
            raise UnsupportedFunction(
                f"`qrmi gateway serve` needs a package that is missing ({error.name}): "
                f"pip install 'qrmi-providers[gateway]'"
            ) from error
        from qrmi_core.gateway import server
        from qrmi_core.gateway.settings import load_gateway_settings

    file, settings = load_gateway_settings(config)
    logging.basicConfig(level=settings.log_level.upper(), format="%(levelname)s %(name)s: %(message)s")
    uvloop.run(server.serve(file, settings))
    if any(not thread.daemon for thread in threading.enumerate() if thread is not threading.current_thread()):
        # A vendor is still being waited for in a thread; the journal says what it is asked, so nothing is lost.
        logging.shutdown()
        sys.stdout.flush()
        os._exit(0)


@contextlib.contextmanager
def _quick_imports() -> Iterator[None]:
    """Leave out what takes time in imports and helps nobody: a third of it, altogether.

    aiohttp reads the system's certificates twice when it is imported, for clients that bring no context of their own.
    The gateway's have one each; what used aiohttp's would trust nobody.
    """
    read_certificates = ssl.SSLContext.set_default_verify_paths
    ssl.SSLContext.set_default_verify_paths = lambda _: None  # type: ignore[method-assign, assignment]
    gc.disable()
    try:
        yield
    finally:
        ssl.SSLContext.set_default_verify_paths = read_certificates  # type: ignore[method-assign]
        gc.freeze()  # modules live as long as the process: nobody needs to look through them for garbage
        gc.enable()
