"""dbos_steps.py DATABASE_URL TIMES: prints the seconds that TIMES steps took, as JSON."""

import json
import sys
import time

from dbos import DBOS

url, times = sys.argv[1], int(sys.argv[2])
TEXT = "x" * 1024


@DBOS.step()
def answer() -> str:
    return TEXT


@DBOS.workflow()
def work() -> float:
    answer()
    began = time.perf_counter()
    for _ in range(times):
        answer()
    return time.perf_counter() - began


DBOS(config={"name": "bench", "system_database_url": url, "run_admin_server": False, "log_level": "ERROR"})
DBOS.launch()
print(json.dumps({"seconds": work()}), flush=True)
DBOS.destroy()
