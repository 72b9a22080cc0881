"""Hostile text, as a commit or a remote has it, made fit for a terminal."""

import unicodedata


def plain(text: bytes | str, limit: int) -> str:
    """Return hostile text without control, format or line-breaking characters, cut to `limit`."""
    if isinstance(text, bytes):
        text = text[: 8 * limit].decode(errors="replace")
    text = text[: 8 * limit]
    kept = "".join(
        character if unicodedata.category(character)[0] != "C" else " " if character == "\t" else ""
        for character in text
        if unicodedata.category(character) not in ("Zl", "Zp")
    ).strip()
    return kept if len(kept) <= limit else kept[: limit - 1] + "…"
