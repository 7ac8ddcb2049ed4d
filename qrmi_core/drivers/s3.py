# SPDX-License-Identifier: Apache-2.0
"""One S3 bucket: boto signs the requests, and our own HTTP client sends them.

So time-outs, retries, certificates and proxy are the resource's own, as for its vendor. Our signatures stand in a
header; those that are handed to others stand in a URL, for one object, one method and a limited time.
"""

from __future__ import annotations

import contextlib
import logging
import re
from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from qrmi_core.errors import AuthenticationFailed, QRMIError, ResourceUnavailable, VendorError, VendorUnreachable
from qrmi_core.exchanges import Body
from qrmi_core.http import HttpClient, Response, Told
from qrmi_core.http_settings import HttpSettings
from qrmi_core.variables import Variable

if TYPE_CHECKING:
    from botocore.credentials import Credentials

__all__ = ["S3_VARIABLES", "WEEK", "Bucket", "missing_s3_variables"]

ACCESS_KEY = "QRMI_IBM_QS_AWS_ACCESS_KEY_ID"
SECRET_KEY = "QRMI_IBM_QS_AWS_SECRET_ACCESS_KEY"  # noqa: S105  the name of a variable
ENDPOINT = "QRMI_IBM_QS_S3_ENDPOINT"
ENDPOINT_OF_DEVICE = "QRMI_IBM_QS_S3_ENDPOINT_FOR_QSAPI"
BUCKET = "QRMI_IBM_QS_S3_BUCKET"
REGION = "QRMI_IBM_QS_S3_REGION"

S3_VARIABLES = (
    Variable(ACCESS_KEY, "the access key of the S3 storage", secret=True),
    Variable(SECRET_KEY, "the secret key of the S3 storage", secret=True),
    Variable(ENDPOINT, "URL of the S3 storage as this side reaches it", endpoint=True),
    Variable(ENDPOINT_OF_DEVICE, "URL of the S3 storage as the QPU reaches it, where that differs", endpoint=True),
    Variable(BUCKET, "the bucket for inputs, results and logs", endpoint=True),
    Variable(REGION, "the bucket's region"),
)
NEEDED = (ACCESS_KEY, SECRET_KEY, ENDPOINT, BUCKET, REGION)

WEEK = 7 * 24 * 3600
"""The longest life, in seconds, that S3 allows a presigned URL."""

REGION_CODES = frozenset({"AuthorizationHeaderMalformed", "AuthorizationQueryParametersError", "PermanentRedirect"})


def missing_s3_variables(values: Mapping[str, str]) -> list[str]:
    """The variables that a bucket needs and that are not set."""
    return [variable for variable in NEEDED if not values.get(variable)]


class Bucket:
    """Objects of one bucket; nothing is sent, nor boto imported, before it is used."""

    def __init__(self, name: str, values: Mapping[str, str], settings: HttpSettings) -> None:
        """The bucket that the variables of the resource ``name`` describe.

        Raises:
            ResourceUnavailable: some of them are missing; says which.
        """
        if missing := missing_s3_variables(values):
            raise ResourceUnavailable(
                f"{name} has no storage for inputs and results: set {', '.join(missing)} of {name}", resource=name
            )
        self._name = name
        self._values = values
        self._http = HttpClient(
            values[ENDPOINT],
            settings,
            resource=name,
            secrets=[values[SECRET_KEY], values[ACCESS_KEY]],
            credentials=f"{ACCESS_KEY} and {SECRET_KEY} of {name}, and their rights in bucket {values[BUCKET]}",
            address=f"{ENDPOINT} of {name}",
            told=_told,
        )

    def put(self, key: str, data: Body) -> None:
        """Store an object, in place of one of that key; one that is in a file is never in memory as a whole.

        Raises:
            AuthenticationFailed: a key is wrong, or does not allow it.
            ResourceUnavailable: there is no such bucket, or the storage cannot be reached.
        """
        with self._explained():
            self._http.change("PUT", self._path(key), data=data, headers=self._signed("PUT", key, data))

    def get(self, key: str) -> bytes | None:
        """An object; None when there is none.

        Raises:
            AuthenticationFailed, ResourceUnavailable: see :meth:`put`.
        """
        with contextlib.suppress(_NoSuchKey), self._explained():
            return self._http.get(self._path(key), headers=self._signed("GET", key)).body
        return None

    def has(self, key: str) -> bool:
        """Whether there is such an object; it is not downloaded."""
        with contextlib.suppress(_NoSuchKey), self._explained():
            self._http.get(self._path(key), headers={**self._signed("GET", key), "Range": "bytes=0-0"})
            return True
        return False

    def delete(self, key: str) -> None:
        """Remove an object; one that is not there is no error."""
        with contextlib.suppress(_NoSuchKey), self._explained():
            self._http.change("DELETE", self._path(key), headers=self._signed("DELETE", key))

    def url_for_device(self, method: str, key: str, seconds: int) -> str:
        """A URL with which the QPU's side can get or put one object, for so many seconds."""
        endpoint = self._values.get(ENDPOINT_OF_DEVICE) or self._values[ENDPOINT]
        request = self._signing.request(method, f"{endpoint.rstrip('/')}{self._path(key)}")
        self._signing.by_url(self._credentials, "s3", self._values[REGION], expires=seconds).add_auth(request)
        return str(request.url)

    def _path(self, key: str) -> str:
        return f"/{quote(self._values[BUCKET], safe='')}/{quote(key, safe='')}"

    def _signed(self, method: str, key: str, data: Body = b"") -> dict[str, str]:
        """The headers of a request of our own."""
        headers = {"Accept": "*/*", "Content-Type": "application/octet-stream"} if data else {"Accept": "*/*"}
        request = self._signing.request(method, f"{self._http.base}{self._path(key)}", data=data, headers=headers)
        self._signing.by_header(self._credentials, "s3", self._values[REGION]).add_auth(request)
        return dict(request.headers.items())

    @cached_property
    def _signing(self) -> _Signing:
        try:
            return _Signing()
        except ImportError as error:
            raise ResourceUnavailable(
                f"{self._name} keeps inputs and results in S3, which needs a package that is missing ({error.name}): "
                f"pip install 'qrmi-providers[ibm-system]'",
                resource=self._name,
            ) from error

    @cached_property
    def _credentials(self) -> Credentials:
        return self._signing.credentials(self._values[ACCESS_KEY], self._values[SECRET_KEY])

    @contextlib.contextmanager
    def _explained(self) -> Iterator[None]:
        """Say which variable is at fault, and tell a missing object from a missing bucket."""
        try:
            yield
        except VendorUnreachable as error:
            raise self._unavailable(f"{error} ({ENDPOINT} of {self._name})", error, VendorUnreachable) from error
        except AuthenticationFailed as error:
            if error.code in REGION_CODES:
                raise self._unavailable(f"{error}, or {REGION} of {self._name}", error) from error
            raise
        except VendorError as error:
            if error.code == "NoSuchBucket":
                text = f"there is no bucket {self._values[BUCKET]}: create it, or check {BUCKET} of {self._name}"
                raise self._unavailable(f"{error}. At this storage {text}", error) from error
            if error.code in REGION_CODES:
                raise self._unavailable(f"{error}. Check {REGION} of {self._name}", error) from error
            if error.http_status == 404:
                raise _NoSuchKey(str(error)) from error
            raise

    def _unavailable(
        self, text: str, error: QRMIError, kind: type[ResourceUnavailable] = ResourceUnavailable
    ) -> ResourceUnavailable:
        return kind(
            text,
            transient=error.transient,
            resource=self._name,
            http_status=error.http_status,
            code=error.code,
            reason=error.reason,
        )


class _NoSuchKey(Exception):
    """The bucket holds no such object."""


class _Signing:
    """What is used of boto; it takes a quarter of a second to import."""

    def __init__(self) -> None:
        from botocore.auth import S3SigV4Auth, S3SigV4QueryAuth
        from botocore.awsrequest import AWSRequest
        from botocore.credentials import Credentials

        logging.getLogger("botocore.auth").setLevel(logging.INFO)  # it would tell every signature to who debugs
        self.by_header: Any = S3SigV4Auth
        self.by_url: Any = S3SigV4QueryAuth
        self.request: Any = AWSRequest
        self.credentials: Any = Credentials


def _told(response: Response) -> Told:
    """What an error says: ``<Error><Code>NoSuchKey</Code><Message>The specified ...</Message></Error>``."""
    found = dict(re.findall(r"<(Code|Message)>([^<]*)</", response.text[:10_000]))
    return Told(message=found.get("Message"), code=found.get("Code"))
