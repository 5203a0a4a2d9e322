import re
from pathlib import Path

CHECKOUT = Path(__file__).parents[2]


def test_the_example_names_every_setting_that_is_read():
    read = re.findall(r'env\.\w+\(\s*"(\w+)"', (CHECKOUT / "lemon_market" / "settings.py").read_text())
    named = re.findall(r"^#(\w+)=", (CHECKOUT / ".env.example").read_text(), re.MULTILINE)

    assert read
    assert set(named) == set(read)
