"""Times claims of 200 due orders in the database of the environment: `python -m benchmarks.claiming`.

Each claim is rolled back, so that all find the same orders. The commit is not included: its cost does not depend on the number
of orders stored.
"""

import json
import os
import sys
import time

import django
from django.db import transaction

from benchmarks.figures import percentile

CLAIMS = 30
LIMIT = 200


def main() -> None:
    # Models can be imported only when Django is set up.
    from orders.placement.attempts import claim_due_orders  # noqa: PLC0415
    from orders.retry_policy import PlacementPolicy  # noqa: PLC0415

    took_ms, policy = [], PlacementPolicy.from_settings()
    for _ in range(CLAIMS):
        with transaction.atomic():
            begun_at = time.perf_counter()
            claims = claim_due_orders(LIMIT, policy)
            took_ms.append((time.perf_counter() - begun_at) * 1000)
            transaction.set_rollback(True)
        if len(claims) != LIMIT:
            sys.exit(f"only {len(claims)} orders are due")
    sys.stdout.write(json.dumps({"p50_ms": percentile(took_ms, 0.5), "p99_ms": percentile(took_ms, 0.99)}))


if __name__ == "__main__":
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "lemon_market.settings")
    django.setup()
    main()
