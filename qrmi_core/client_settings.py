# SPDX-License-Identifier: Apache-2.0
"""client.json: where the gateway is and which resources the site has, for users' commands. It holds no secret.

{"url": "https://gateway.example:7811", "ca": null, "munge_socket": null, "resources": [
    {"name": "ibm_fez", "type": "ibm-quantum-compute-service", "lanes": 1, "description": ""}]}
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from qrmi_core.environment import CLIENT_CONFIG, SITE_CLIENT_CONFIG, client_file
from qrmi_core.errors import ConfigurationError
from qrmi_core.gateway_address import checked_address, socket_of
from qrmi_core.strict_files import Strict, Text, at_least, load_strict

__all__ = ["ClientResource", "ClientSettings", "load_client_settings"]

_FILE = "_file"


class ClientResource(Strict):
    """One resource of the site, without anything that only the gateway may know."""

    name: Text
    type: Text
    lanes: Annotated[int, at_least(1)] = 1
    description: str = ""


class ClientSettings(Strict):
    """Where the gateway is; ``ca`` is a file with the certificates to trust."""

    url: Annotated[str, checked_address]
    ca: Text | None = None
    munge_socket: Text | None = None
    resources: tuple[ClientResource, ...] = ()

    @property
    def file(self) -> str:
        """What texts call the file that these are from; it is no key, so it stands beside the values."""
        return str(vars(self).get(_FILE, "client.json"))

    @property
    def socket(self) -> str | None:
        """The path of the gateway's unix socket, where it is reached over one."""
        return socket_of(self.url)


def load_client_settings(option: Path | None = None) -> ClientSettings:
    """The settings in the file that is named, else in that of ``QRMI_CLIENT_CONFIG``, else the site's.

    Raises:
        ConfigurationError: there is none, or the first mistake in it.
    """
    file = client_file(option)
    if file is None:
        raise ConfigurationError(
            f"there is no {SITE_CLIENT_CONFIG} here, and neither an option nor {CLIENT_CONFIG} names another: this "
            f"host does not know the site's gateway"
        )
    settings = load_strict(file, ClientSettings, example='{"url": "https://gateway.example:7811"}')
    vars(settings)[_FILE] = str(file)
    return settings
