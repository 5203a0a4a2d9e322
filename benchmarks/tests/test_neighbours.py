from pathlib import Path

import pytest

from benchmarks.neighbours import NEIGHBOURS, measure


@pytest.mark.alone
def test_nobody_costs_another_account_one_error(tmp_path: Path) -> None:
    """Response times need a quiet machine: `python -m benchmarks.neighbours` measures them."""
    found = {name: set(figures.statuses) for name, figures in measure(tmp_path, 100)}
    assert found == {name: {202} for name in NEIGHBOURS}
