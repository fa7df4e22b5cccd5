"""The prompt of audibility guidance, and the one place that says where it goes."""

PROMPT = "Audio of a"


def prompted(text: str, prompt: str = PROMPT) -> str:
    """What the language model, the matcher and the classifier read, and metric A; scored captions go without it."""
    return f"{prompt} {text.strip()}".strip()
