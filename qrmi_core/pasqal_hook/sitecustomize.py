# SPDX-License-Identifier: Apache-2.0
"""Points pasqal-cloud to the server of this job, in any Python that starts with this directory in ``PYTHONPATH``.

``QRMI_PASQAL_URL`` says where that is and ``QRMI_PASQAL_TOKEN`` is the job's token. Nothing is imported for it: the two
modules of pasqal-cloud are changed when a program imports them. A program that says itself where its cloud is goes
there. The user's name and password are sent nowhere. ``python -I`` and ``-E`` go without the hook.

Python loads one module of this name only, so that of the site, on a later path, is loaded from here.
"""

from __future__ import annotations

import os
import sys
from importlib.machinery import PathFinder

TYPE_CHECKING = False
if TYPE_CHECKING:  # typing itself would cost each start of Python
    from importlib.machinery import ModuleSpec
    from types import ModuleType
    from typing import Any

HERE = os.path.dirname(os.path.abspath(__file__))  # noqa: PTH100, PTH120  pathlib would cost each start of Python
OLD = "this pasqal-cloud is not known to the hook of qrmi: with pasqal-cloud >= 0.23 the program would reach its QPU"


class Hook:
    """A finder of modules that looks at two only, and lets the others find them."""

    def __init__(self, url: str, token: str) -> None:
        self._url = url
        self._token = token
        self._changes = {"pasqal_cloud.endpoints": self._endpoints, "pasqal_cloud.authentication": self._authentication}

    def find_spec(self, name: str, path: Any = None, target: ModuleType | None = None) -> ModuleSpec | None:
        change = self._changes.pop(name, None)
        if change is None:
            return None
        others = (finder.find_spec(name, path, target) for finder in sys.meta_path if finder is not self)
        spec = next(filter(None, others), None)
        if spec is None or spec.loader is None:
            return None
        execute = spec.loader.exec_module

        def executed(module: ModuleType) -> None:
            execute(module)
            try:
                change(module)
            except AttributeError:
                import warnings

                warnings.warn(OLD, RuntimeWarning, stacklevel=2)

        spec.loader.exec_module = executed  # type: ignore[method-assign]
        return spec

    def _endpoints(self, module: Any) -> None:
        known = module.TokenProviderConf.from_region

        def endpoints(kind: Any, region: str | None = None) -> Any:  # noqa: ARG001
            return kind(core=f"{self._url}/core-fast", account=f"{self._url}/account")

        def configuration(_kind: Any, region: str | None = None) -> Any:  # noqa: ARG001
            found = known(None)
            found.token_endpoint = f"{self._url}/oauth/token"
            return found

        module.Endpoints.from_region = classmethod(endpoints)
        module.TokenProviderConf.from_region = classmethod(configuration)

    def _authentication(self, module: Any) -> None:
        provider = module.PasswordGrantTokenProvider
        asked = provider.get_token

        def get_token(own: Any) -> str:
            ours = own.config.token_endpoint == f"{self._url}/oauth/token"
            return self._token if ours else str(asked(own))

        provider.get_token = get_token


def install() -> None:
    """Change pasqal-cloud when it is imported, where the job says to what."""
    url, token = os.environ.get("QRMI_PASQAL_URL"), os.environ.get("QRMI_PASQAL_TOKEN")  # noqa: TID251  no qrmi_core here
    if url and token:
        sys.meta_path.insert(0, Hook(url, token))


def load_next() -> None:
    """Load the site's own ``sitecustomize``, if there is one."""
    others = [path for path in sys.path if os.path.abspath(path) != HERE]  # noqa: PTH100
    spec = PathFinder.find_spec("sitecustomize", others)
    if spec is not None and spec.loader is not None:
        from importlib.util import module_from_spec

        module = module_from_spec(spec)
        sys.modules["sitecustomize"] = module
        spec.loader.exec_module(module)


if __name__ == "sitecustomize":
    install()
    load_next()
