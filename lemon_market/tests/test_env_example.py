import re
from pathlib import Path

CHECKOUT = Path(__file__).parents[2]


def settings_of_the_example() -> list[str]:
    return re.findall(r"^#(\w+)=", (CHECKOUT / ".env.example").read_text(), re.MULTILINE)


def test_the_example_names_every_setting_that_is_read():
    read = re.findall(r'env\.\w+\(\s*"(\w+)"', (CHECKOUT / "lemon_market" / "settings.py").read_text())

    assert read
    assert set(settings_of_the_example()) == set(read)


def test_the_document_explains_each_setting_of_the_example_once():
    explained = re.findall(r"^\| `(\w+)` \|", (CHECKOUT / "docs" / "configuration.md").read_text(), re.MULTILINE)

    assert sorted(explained) == sorted(settings_of_the_example())


def test_the_document_marks_what_a_deployment_sets_as_the_example_does():
    text = (CHECKOUT / "docs" / "configuration.md").read_text()
    marked = set(re.findall(r"^\| `(\w+)` \|[^|]*\| \*\*\(!\)\*\*", text, re.MULTILINE))
    asked_for = re.findall(r"^# \(!\).*\n(?:#.*\n)*?#(\w+)=", (CHECKOUT / ".env.example").read_text(), re.MULTILINE)

    assert asked_for
    assert marked == set(asked_for)
