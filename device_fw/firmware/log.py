"""The board's console: one line an event, key=value."""


def log(event: str, **fields: object) -> None:
    """Print an event and its fields; text with spaces or quotes is quoted."""
    line = "event=" + event
    for name in sorted(fields):  # MicroPython keeps no order
        text = str(fields[name])
        if not text or " " in text or '"' in text or "\n" in text:
            text = repr(text)
        line += " " + name + "=" + text
    print(line)
