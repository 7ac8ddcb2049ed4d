# SPDX-License-Identifier: Apache-2.0
"""Whom connections by TLS trust, and who we say that we are; the same for drivers and for the gateway's doors."""

from __future__ import annotations

import ssl
from pathlib import Path

from qrmi_core.http_settings import HttpSettings

__all__ = ["system_roots", "tls_context"]

USUAL = ("/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/ca-bundle.pem")


def system_roots() -> Path | None:
    """The file in which this host has the authorities that it trusts; None where it has none."""
    known = (*USUAL, ssl.get_default_verify_paths().openssl_cafile)
    return next((path for path in map(Path, known) if path.is_file()), None)


def tls_context(settings: HttpSettings) -> ssl.SSLContext:
    """A client's context: trusts the settings' authorities, else those of this host, else those of certifi.

    It takes longer than a handshake to make one, so make it once.

    Raises:
        OSError: a file cannot be used; its text names the file.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    trusted = settings.ca or system_roots()
    if trusted is None:
        import certifi  # seldom needed

        trusted = certifi.where()
    try:
        if Path(trusted).is_dir():
            context.load_verify_locations(capath=trusted)
        else:
            context.load_verify_locations(trusted)
    except OSError as error:
        raise _about(trusted, error) from error
    if settings.certificate:
        try:
            context.load_cert_chain(settings.certificate, settings.key)
        except OSError as error:
            raise _about(settings.certificate, error) from error
    return context


def _about(file: str | Path, error: OSError) -> OSError:
    return OSError(error.errno, f"{file}: {error.strerror or error}")
