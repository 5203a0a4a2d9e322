"""What the documents name has to exist: paths of the repository, names within them, links to pages and to their headings."""

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parents[2]
DOCUMENTS = sorted([CHECKOUT / "README.md", CHECKOUT / "CONTRIBUTING.md", *(CHECKOUT / "docs").rglob("*.md")])
# What a run writes, or a person makes, is not in the repository.
MADE_LATER = {".venv", ".local", ".env"}
TOP = {path.name for path in CHECKOUT.iterdir()} - MADE_LATER
EXTENSIONS = (".py", ".md", ".toml", ".txt", ".lock", ".yaml", ".yml", ".ini", ".svg", ".png", ".html", ".js", ".css")


def shown(path: Path) -> str:
    return str(path.relative_to(CHECKOUT))


def without_blocks(text: str) -> str:
    return re.sub(r"^```.*?^```$", "", text, flags=re.DOTALL | re.MULTILINE)


def paths(text: str) -> Iterator[str]:
    """What is marked as code and looks like a path of this repository, with `::name` if it has one."""
    for marked in re.findall(r"`([^`\n]+)`", without_blocks(text)):
        path = marked.partition("::")[0]
        # A wildcard or a placeholder names no one file.
        if not re.fullmatch(r"[\w./@-]+", path):
            continue
        first = path.partition("/")[0]
        if "::" in marked or (first in TOP and ("/" in path or path.endswith(EXTENSIONS))):
            yield marked


def links(text: str) -> Iterator[str]:
    yield from re.findall(r"\]\((?!\w+:)([^)\s]+)\)", without_blocks(text))


@cache
def names_in(path: Path) -> set[str]:
    """Functions, classes and constants of a module, and what its classes define as `Class.name`."""
    found: set[str] = set()

    def add(body: list[ast.stmt], prefix: str) -> None:
        for statement in body:
            match statement:
                case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
                    found.add(prefix + name)
                case ast.ClassDef(name=name, body=inner):
                    found.add(prefix + name)
                    add(inner, f"{prefix}{name}.")
                case ast.Assign() | ast.AnnAssign():
                    assigned = (node for node in ast.walk(statement) if isinstance(node, ast.Name))
                    found.update(prefix + node.id for node in assigned if isinstance(node.ctx, ast.Store))
                case _:
                    pass

    add(ast.parse(path.read_text()).body, "")
    return found


@cache
def headings(path: Path) -> set[str]:
    """The anchors that a page's headings get where Markdown is shown."""
    titles = re.findall(r"^#+ (.+)$", without_blocks(path.read_text()), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).strip().replace(" ", "-") for title in titles}


@pytest.mark.parametrize("document", DOCUMENTS, ids=shown)
def test_what_a_document_names_exists(document):
    missing = []
    for marked in paths(document.read_text()):
        path, _, name = marked.partition("::")
        if not (CHECKOUT / path).exists() or (name and name not in names_in(CHECKOUT / path)):
            missing.append(marked)

    assert not missing


@pytest.mark.parametrize("document", DOCUMENTS, ids=shown)
def test_what_a_document_links_to_exists(document):
    broken = []
    for link in links(document.read_text()):
        path, _, anchor = link.partition("#")
        target = (document.parent / path).resolve() if path else document
        if not target.exists() or (anchor and anchor not in headings(target)):
            broken.append(link)

    assert not broken


def test_names_and_links_are_found():
    text = "See `orders/states.py::Status`, `README.md`, `orders/*.py`, [it](docs/kafka.md#roles), [a site](https://example.org)."

    assert list(paths(text)) == ["orders/states.py::Status", "README.md"]
    assert list(links(text)) == ["docs/kafka.md#roles"]
    assert {"Status", "Status.PENDING", "STATUS_CHANGES"} <= names_in(CHECKOUT / "orders" / "states.py")
    assert "roles" in headings(CHECKOUT / "docs" / "kafka.md")


def test_every_page_is_in_the_index():
    """docs/README.md leads to each page, and docs/decisions/README.md to each decision."""
    for folder in (CHECKOUT / "docs", CHECKOUT / "docs" / "decisions"):
        index = set(links((folder / "README.md").read_text()))
        assert {path.name for path in folder.glob("*.md")} - {"README.md"} <= index
