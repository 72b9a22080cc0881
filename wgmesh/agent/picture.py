"""A wg-quick file as a QR code, which the apps for phones read."""

import io
from typing import TYPE_CHECKING

from wgmesh.errors import WgmeshError

if TYPE_CHECKING:
    from segno import QRCode


def png(text: bytes) -> bytes | None:
    """Return a PNG picture of a wg-quick file, None when it is too long for one."""
    code = _code(text)
    if code is None:
        return None
    made = io.BytesIO()
    code.save(made, kind="png", scale=4)
    return made.getvalue()


def drawing(text: bytes) -> str:
    """Return the same in characters, for a terminal; "" when it is too long."""
    code = _code(text)
    if code is None:
        return ""
    made = io.StringIO()
    code.terminal(made, compact=True)
    return made.getvalue()


def _code(text: bytes) -> "QRCode | None":
    try:
        import segno
    except ImportError:
        raise WgmeshError(
            "QR codes need the Python library segno", "apt install python3-segno"
        ) from None
    lines = text.decode().split("\n")
    bare = "\n".join(line for line in lines if line and not line.startswith("#"))
    try:
        return segno.make_qr(bare, error="l")
    except segno.DataOverflowError:
        return None
