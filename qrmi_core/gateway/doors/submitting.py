# SPDX-License-Identifier: Apache-2.0
"""What a vendor must take once is sent once, whatever the network does; :mod:`qrmi_core.submission` is that of drivers.

What cannot have arrived is sent again. What may have arrived is looked for where the vendor can be asked, and sent
again only when it is not there.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

from qrmi_core import polling
from qrmi_core.gateway.doors.upstream import VendorAway

__all__ = ["Unanswered", "sent_once"]

PATIENCE = 30.0
"""Seconds for which it is sent again while the vendor cannot be reached."""

_Answer = TypeVar("_Answer")


class Unanswered(VendorAway):
    """Nobody knows whether the vendor took it."""

    def __init__(self, text: str) -> None:
        super().__init__(text, arrived=True)


async def sent_once(
    send: Callable[[], Awaitable[_Answer]], look_up: Callable[[], Awaitable[_Answer | None]] | None = None
) -> _Answer:
    """The vendor's answer, or what ``look_up`` found in its place.

    A look-up that finds nothing proves nothing while the vendor may be at work on it: after its silence it is not sent
    again.

    Raises:
        Unanswered: it may have arrived, and that cannot be told.
        VendorAway: the vendor did not take it.
    """
    give_up, attempt = time.monotonic() + PATIENCE, 0
    while True:
        try:
            return await send()
        except VendorAway as away:
            if away.arrived:
                if look_up is None:
                    raise Unanswered(str(away)) from away
                if (found := await look_up()) is not None:
                    return found
                if isinstance(away.__cause__, TimeoutError):
                    raise Unanswered(str(away)) from away
            gap = polling.backoff(attempt)
            if time.monotonic() + gap > give_up:
                raise
        attempt += 1
        await polling.pause_async(gap)
