"""Text on the terminal: what files and models hold, and times."""


def printable(text: str) -> str:
    """The text with a � for each control character: a file name or a caption could otherwise steer the terminal."""
    return "".join(character if character.isprintable() else "�" for character in text)


def duration(seconds: float) -> str:
    """Seconds as a person says them: `42 s`, `6 min 5 s`, `3 h 20 min`."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"
