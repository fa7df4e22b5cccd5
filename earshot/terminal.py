"""Text from files and models on the terminal."""


def printable(text: str) -> str:
    """The text with a � for each control character: a file name or a caption could otherwise steer the terminal."""
    return "".join(character if character.isprintable() else "�" for character in text)
