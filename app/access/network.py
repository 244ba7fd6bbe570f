"""Who may reach a namespace from where: its network rules, compiled (Azure Resource Manager, "network rule sets").

The first rule whose network holds the address decides, else the default. `Disabled` public access leaves this machine.
Addresses are compared in one form: an IPv4 address that comes as IPv6 is an IPv4 address.
"""

from __future__ import annotations

import ipaddress

from app.namespace import NetworkRules

_Address = ipaddress.IPv4Address | ipaddress.IPv6Address
_Network = ipaddress.IPv4Network | ipaddress.IPv6Network

REMEMBERED = 4096  # addresses, and what was decided of them

_MAPPED = ipaddress.IPv6Network("::ffff:0:0/96")


class Network:
    """The rules of one namespace; with a mask that is no network they let this machine in only.

    `is_open` says that there is nothing to judge.
    """

    def __init__(self, rules: NetworkRules) -> None:
        self._default = rules.default_action == "Allow"
        self._is_closed = rules.public_network_access == "Disabled"
        try:
            self._rules = [(parse_mask(rule.mask), rule.action == "Allow") for rule in rules.ip_rules]
        except ValueError:
            self._rules, self._is_closed = [], True
        self._decided: dict[str, bool] = {}
        self.is_open = not self._is_closed and self._default and all(allows for _, allows in self._rules)

    def admits(self, address: str) -> bool:
        """Whether a caller with this address may reach the namespace; what is no address may not."""
        if self.is_open:
            return True
        decided = self._decided.get(address)
        if decided is None:
            if len(self._decided) >= REMEMBERED:
                self._decided.clear()
            decided = self._decided[address] = self._judge(address)
        return decided

    def _judge(self, text: str) -> bool:
        try:
            address = _plain(ipaddress.ip_address(text.partition("%")[0]))
        except ValueError:
            return False
        if self._is_closed:
            return address.is_loopback
        found = (allows for network, allows in self._rules if address.version == network.version and address in network)
        return next(found, self._default)


def parse_mask(mask: str) -> _Network:
    """A network such as `10.0.0.0/24`, or a single address. Raises ValueError."""
    network = ipaddress.ip_network(mask.strip(), strict=False)
    if isinstance(network, ipaddress.IPv6Network) and network.subnet_of(_MAPPED):
        return ipaddress.IPv4Network((int(network.network_address) & 0xFFFFFFFF, network.prefixlen - 96))
    return network


def _plain(address: _Address) -> _Address:
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return address if mapped is None else mapped
