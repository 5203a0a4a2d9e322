"""What a test module may import. The contracts in pyproject.toml hold packages apart; they cannot name modules by a pattern."""

import ast

import pytest

from testsupport.installation import CHECKOUT

FILES = sorted(path for folder in CHECKOUT.glob("[a-z]*/tests") for path in folder.rglob("*.py"))


def imported(source: str) -> set[str]:
    """The full names of all that a source imports, modules and what they hold."""
    nodes = list(ast.walk(ast.parse(source)))
    names = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    froms = [node for node in nodes if isinstance(node, ast.ImportFrom)]
    return names | {f"{'.' * node.level}{node.module or ''}.{alias.name}" for node in froms for alias in node.names}


def of_pytest(names: set[str]) -> list[str]:
    """Those that lead into a module that pytest alone imports."""
    parts = {name: name.split(".") for name in names}
    return sorted(name for name, path in parts.items() if any(part == "conftest" or part.startswith("test_") for part in path))


def test_no_module_imports_a_test_module_or_a_conftest() -> None:
    assert FILES
    found = {str(path.relative_to(CHECKOUT)): of_pytest(imported(path.read_text())) for path in FILES}
    assert {name: modules for name, modules in found.items() if modules} == {}


@pytest.mark.parametrize(
    "source",
    [
        "from orders.tests.test_halts import halt",
        "from orders.tests import test_halts",
        "import orders.tests.conftest",
        "from .conftest import accept",
        "def test():\n    from . import test_halts",
    ],
)
def test_every_way_of_importing_one_is_found(source: str) -> None:
    assert of_pytest(imported(source))
