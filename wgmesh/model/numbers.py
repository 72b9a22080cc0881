"""Numbers and names that many share: ours in the kernel, an inventory's defaults, WireGuard's."""

ROUTE_PROTOCOL = 101
"""The `proto` that marks routes and rules as ours (unassigned in iproute2's rt_protos)."""

NFT_TABLE = "wgmesh"
"""Our one nftables table: `inet wgmesh`."""

MOST_REMOTES = 8
"""As many remotes of one inventory are asked and compared."""

EXIT_TABLE = 101
"""The routing table that leads to the exit."""

DIRECT_MARK = 0x101
TUNNEL_MARK = 0x102
MARK_MASK = 0xFFF
"""What leaves by the uplink, WireGuard's own packets; Tailscale's bits, 0xff0000, stay clear."""

DEFAULT_PORT = 51820
DEFAULT_MTU = 1420
IPV6_LEAST_MTU = 1280  # RFC 8200, section 5
MAIN_TABLE = 254

SESSION_SECONDS = 180
"""No session is older: REJECT_AFTER_TIME, WireGuard whitepaper, section 6.2."""
