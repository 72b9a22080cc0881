"""The values that travel along the arrows: frozen, plain, without behaviour that touches the world.

Units: `_seconds` and `_bytes` in names; keepalives are seconds, 0 is off; ports are 1 to 65535. The
modules are imported one by one, so that a run loads only the values it uses.
"""
