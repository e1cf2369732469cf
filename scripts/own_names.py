"""Prints, for `streamlit run`, the hosts that the app answers to: this machine's own names and addresses, and others.

python scripts/own_names.py 0.0.0.0 headroom.example
"""

from __future__ import annotations

import ipaddress
import socket
import sys

import psutil


def own_names() -> list[str]:
    """Names and addresses under which this machine is reached, its own loopback first."""
    found = ["localhost", "127.0.0.1", "::1", socket.gethostname(), socket.getfqdn()]
    for addresses in psutil.net_if_addrs().values():
        found += [_host(one.address) for one in addresses if one.family in (socket.AF_INET, socket.AF_INET6)]
    return list(dict.fromkeys(name for name in found if name))


def _host(address: str) -> str:
    """As Streamlit compares it; '' for an address that only its own link knows."""
    known = ipaddress.ip_address(address.partition("%")[0])
    return "" if known.is_link_local else str(known)


if __name__ == "__main__":
    address, *others = sys.argv[1:]
    given = [] if address in ("", "0.0.0.0", "::") else [address]
    print(" ".join(f"--server.allowedHosts {name}" for name in dict.fromkeys([*own_names(), *given, *others])))
