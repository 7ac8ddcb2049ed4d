# SPDX-License-Identifier: Apache-2.0
"""aiohttp with its server alone at first: its client is as large again, and is needed when a job asks for something.

``import aiohttp`` loads both, whatever of it is asked for. Here the package is known before what is in its
``__init__`` ran; that follows with :func:`load`, or with the first name of it that is used.
"""

from __future__ import annotations

import re
import ssl
import sys
from importlib import import_module
from importlib.util import find_spec, module_from_spec
from pathlib import Path
from types import ModuleType
from typing import Any

__all__ = ["load", "postpone"]

NAME = "aiohttp"
_VERSION = re.compile(r'^__version__ = "([^"]+)"$', re.MULTILINE)


class _Late(ModuleType):
    """The package before its ``__init__`` ran; its modules can be imported as ever."""

    def __getattr__(self, name: str) -> Any:
        if name == "__version__" and (told := _VERSION.search(Path(str(self.__file__)).read_text(encoding="utf-8"))):
            return told[1]
        if name.startswith("__"):
            raise AttributeError(name)
        try:
            return import_module(f"{NAME}.{name}")
        except ModuleNotFoundError:
            load()
            return getattr(self, name)


def postpone() -> None:
    """Have the client loaded later, where nobody has loaded it yet.

    Raises:
        ModuleNotFoundError: aiohttp is not installed.
    """
    if NAME in sys.modules:
        return
    spec = find_spec(NAME)
    if spec is None:
        raise ModuleNotFoundError(f"No module named {NAME!r}", name=NAME)
    package = module_from_spec(spec)
    package.__class__ = _Late
    sys.modules[NAME] = package


def load() -> None:
    """Load what was postponed. To be called in the main thread while no other makes a TLS context.

    aiohttp reads the system's certificates twice when its client is loaded, for those who bring no context of their
    own. The gateway's ways to vendors have one each; what used aiohttp's would trust nobody.
    """
    package = sys.modules[NAME]
    if not isinstance(package, _Late):
        return
    package.__class__ = ModuleType  # type: ignore[assignment]
    read_certificates = ssl.SSLContext.set_default_verify_paths
    ssl.SSLContext.set_default_verify_paths = lambda _: None  # type: ignore[method-assign, assignment]
    try:
        package.__spec__.loader.exec_module(package)  # type: ignore[union-attr]
    finally:
        ssl.SSLContext.set_default_verify_paths = read_certificates  # type: ignore[method-assign]
