"""The prompt of audibility guidance, and what it is put before."""

PROMPT = "Audio of a"


def prompted(text: str, prompt: str = PROMPT) -> str:
    """A text as the language model, the matcher, the classifier and metric A get it; captions are scored without it."""
    return f"{prompt} {text.strip()}".strip()
