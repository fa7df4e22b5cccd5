"""The prompt of audibility guidance, and how it is put before a text."""

PROMPT = "Audio of a"


def prompted(text: str, prompt: str = PROMPT) -> str:
    """A text as the language model, the matcher, the classifier and metric A get it; captions are scored without it."""
    return f"{prompt} {text.strip()}".strip()
