"""What somebody else said (a board, a file from elsewhere), as text that may be shown: a terminal obeys control characters."""

LONGEST = 200


def plain(text: str, longest: int = LONGEST) -> str:
    """The text in one line of at most `longest` characters; what cannot be printed is written as `\\x1b`."""
    shown = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text[:longest])
    return shown if len(text) <= longest and len(shown) <= longest else shown[: longest - 1] + "…"
