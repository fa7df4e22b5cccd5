"""Media inside a page, which then needs no other file."""

import base64


def data_uri(kind: str, data: bytes) -> str:
    """Bytes of the media type `kind`, such as image/png, as a URL that holds them."""
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"
