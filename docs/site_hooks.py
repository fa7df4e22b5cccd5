"""What mkdocs cannot do by itself: a navigation of pages that commands write, and pages from outside docs/."""

from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
FROM_ROOT = {"contributing.md": "CONTRIBUTING.md", "changelog.md": "CHANGELOG.md"}


def on_config(config: Any) -> Any:
    """Add every page of docs/results to the navigation; `make ... RESULTS=docs/results` writes them."""
    (results,) = [entry["Results"] for entry in config.nav if "Results" in entry]
    pages = sorted(path.name for path in (ROOT / "docs" / "results").glob("*.md"))
    pages.sort(key=lambda name: name == "archive.md")  # last
    results.extend(f"results/{name}" for name in pages if name != "index.md")
    return config


def on_page_markdown(markdown: str, page: Any, **kwargs: Any) -> str:
    """Show CONTRIBUTING.md and CHANGELOG.md, whose links begin at the root of the project."""
    name = FROM_ROOT.get(page.file.src_uri)
    return (ROOT / name).read_text(encoding="utf-8").replace("](docs/", "](") if name else markdown
