"""Changing the kernel's links, addresses, routes and rules: one socket, errors in words."""

import os
import socket
from collections.abc import Collection
from types import TracebackType
from typing import Any, Self

from wgmesh.errors import WgmeshError

FAMILY = {4: socket.AF_INET, 6: socket.AF_INET6}


class Socket:
    """A pyroute2 IPRoute that is opened at the first request, for its import costs 200 ms."""

    def __init__(self) -> None:
        self._ipr: Any = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._ipr is not None:
            self._ipr.close()

    def request(
        self,
        purpose: str,
        call: str,
        command: str,
        *,
        fine: Collection[int] = (),
        **attributes: Any,  # noqa: ANN401 - what pyroute2 takes
    ) -> int:
        """Send one request: `call` is link, addr, route or rule, `command` what pyroute2 names it.

        Returns 0, or the errno when it is one of `fine`. Raises WgmeshError "cannot `purpose`: …".
        """
        from pyroute2.netlink.exceptions import NetlinkError

        try:
            getattr(self._opened(), call)(command, **attributes)
        except NetlinkError as error:
            if error.code in fine:
                return int(error.code)
            raise WgmeshError(f"cannot {purpose}: {os.strerror(error.code)}") from error
        return 0

    def addresses(self, family: int, index: int) -> set[tuple[str, int]]:
        """Return the addresses of interface `index` as (address, prefix length)."""
        messages = self._opened().get_addr(family=FAMILY[family], index=index)
        # IPv6 has no IFA_LOCAL on an interface without a far end (linux/if_addr.h)
        return {
            (
                str(message.get_attr("IFA_LOCAL") or message.get_attr("IFA_ADDRESS")),
                int(message["prefixlen"]),
            )
            for message in messages
        }

    def _opened(self) -> Any:  # noqa: ANN401 - pyroute2 carries no types
        if self._ipr is None:
            from pyroute2 import IPRoute

            self._ipr = IPRoute()
        return self._ipr


def index(interface: str) -> int:
    """Return the index of `interface`. Raises WgmeshError when there is none."""
    try:
        return socket.if_nametoindex(interface)
    except OSError as error:
        raise WgmeshError(f"there is no interface {interface}") from error
