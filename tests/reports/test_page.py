"""What stands in the cells of a page, read by a Markdown renderer."""

import html
import re

import pytest
from markdown_it import MarkdownIt

from reports.page import plain


@pytest.mark.parametrize(
    "text",
    [
        "wind \\| x", "a | b", "a\\", "*b*", "_b_", "__b__", "(_b_)", "a_b_c", "`c`", "~~s~~", "<img src=x>", "&lt;",
        "[l](http://a.b)", "![a](b)", "<http://a.b>", "0.5 [0.1, 0.9]",
    ],
)  # fmt: skip
def test_a_cell_shows_its_text(text: str) -> None:
    """Neither markup nor another cell comes of it."""
    reader = MarkdownIt("commonmark").enable(["table", "strikethrough"])
    page = reader.render(f"| a | b |\n|---|---|\n| {plain(text)} | z |\n")
    assert [html.unescape(cell) for cell in re.findall("<td>(.*)</td>", page)] == [text, "z"]


def test_numbers_and_names_are_readable_in_the_source() -> None:
    assert plain("clap_prefix: 0.5 [0.1, 0.9] (see)") == "clap_prefix: 0.5 [0.1, 0.9] (see)"
