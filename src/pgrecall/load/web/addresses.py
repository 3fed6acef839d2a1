"""Which addresses may be connected to: none of the caller's own network, unless allowed."""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address

from pgrecall.errors import UnreadableSource

_NAT64 = IPv6Network("64:ff9b::/96")


def permitted(host: str, addresses: Iterable[str], *, allow_private: bool) -> list[str]:
    """The addresses of a host that may be connected to; raises UnreadableSource if there is none.

    The connection goes to one of these very addresses, so that a name that resolves to another one a moment
    later gains nothing.
    """
    found = list(dict.fromkeys(addresses))
    chosen = [one for one in found if allow_private or is_public(one)]
    if not chosen:
        raise UnreadableSource(
            f"{host} is in a private network ({', '.join(found)}); allow it with allow_private=True, "
            "--allow-private."
        )
    return chosen


def is_public(address: str) -> bool:
    """Whether an address is anybody's; those that stand for an IPv4 address are judged by that."""
    ip: IPv4Address | IPv6Address = ip_address(address.partition("%")[0])
    if isinstance(ip, IPv6Address):
        inner = ip.ipv4_mapped or ip.sixtofour or (ip.teredo[1] if ip.teredo else None)
        if inner is None and ip in _NAT64:
            inner = IPv4Address(int(ip) & 0xFFFFFFFF)
        ip = inner or ip
    return ip.is_global and not ip.is_multicast and not ip.is_reserved
