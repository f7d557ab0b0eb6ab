"""Which worker runs what, where there are more than two: browsers from the beginning and two at a time,
everything else beside them. What takes long goes first, so that no worker is left with it at the end."""

from __future__ import annotations

import importlib
from pathlib import Path

from xdist.scheduler import LoadFileScheduling
from xdist.workermanage import WorkerController

BROWSERS = 2
"""As many at once as a machine of two cores can drive without keeping a page waiting."""

LONG = {
    "tests/e2e/test_main_job.py": 150,
    "tests/e2e/test_travel.py": 60,
    "tests/adapters/langgraph/test_kills.py": 60,
    "tests/promises/test_damage.py": 50,
    "tests/promises/test_kills.py": 45,
    "tests/e2e/test_accessibility.py": 40,
    "tests/e2e/test_adapters_live.py": 40,
    "tests/adapters/test_marsys.py": 40,
    "tests/packaging/test_run.py": 40,
    "tests/promises/test_rewriting.py": 30,
    "tests/adapters/langgraph/test_growth.py": 30,
    "tests/benchmarks/test_bench_ui_runs.py": 24,
    "tests/orchestra/test_hand_over.py": 20,
    "tests/orchestra/test_crashing.py": 20,
    "tests/e2e/across_stores/test_overview.py": 20,
    "tests/e2e/test_copied_links.py": 14,
    "tests/e2e/test_langgraph.py": 14,
}
"""Seconds, about, that files take whose tests are few; the others are taken by how many tests they have."""
SECONDS_BY_BROWSER = 2.0
SECONDS = 0.1


def drives_a_browser(file: str) -> bool:
    return "/e2e/" in file or file.endswith("/test_bench_ui_runs.py")


def import_from_another_place(root: Path, worker: str, workers: int) -> None:
    """Each worker imports all tests, and rewrites the assertions of those that have no compiled file: half of
    that time. They begin in different places, so that each finds what the others have rewritten meanwhile."""
    packages = [file.parent for file in root.glob("tests/**/__init__.py")]
    files = sorted(file for package in packages for file in package.glob("test_*.py"))
    number = int(worker.removeprefix("gw"))
    for file in files[len(files) * number // workers :]:
        importlib.import_module(".".join(file.relative_to(root).with_suffix("").parts))


class FewBrowsersAtOnce(LoadFileScheduling):
    """File by file. A test that drives a browser waits much and computes little; the workers that drive none
    use that time."""

    def _assign_work_unit(self, node: WorkerController) -> None:
        wanted = self._browsers_beside(node) < BROWSERS
        fitting = [file for file in self.workqueue if drives_a_browser(file) == wanted]
        chosen = max(fitting or self.workqueue, key=self._seconds)
        self.workqueue.move_to_end(chosen, last=False)
        super()._assign_work_unit(node)

    def _seconds(self, file: str) -> float:
        each = SECONDS_BY_BROWSER if drives_a_browser(file) else SECONDS
        return LONG.get(file, each * len(self.workqueue[file]))

    def _browsers_beside(self, node: WorkerController) -> int:
        others = (work for other, work in self.assigned_work.items() if other is not node)
        return sum(any(drives_a_browser(f) and not all(work[f].values()) for f in work) for work in others)
