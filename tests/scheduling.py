"""Which worker runs what, where there are more than two: browsers from the beginning and two at a time,
everything else beside them."""

from __future__ import annotations

from xdist.scheduler import LoadFileScheduling
from xdist.workermanage import WorkerController

BROWSERS = 2
"""As many at once as a machine of two cores can drive without keeping a page waiting."""


def drives_a_browser(file: str) -> bool:
    return "/e2e/" in file


class FewBrowsersAtOnce(LoadFileScheduling):
    """File by file. A test that drives a browser waits much and computes little; the workers that drive none
    use that time."""

    def _assign_work_unit(self, node: WorkerController) -> None:
        wanted = self._browsers_beside(node) < BROWSERS
        chosen = next((file for file in self.workqueue if drives_a_browser(file) == wanted), None)
        if chosen:
            self.workqueue.move_to_end(chosen, last=False)
        super()._assign_work_unit(node)

    def _browsers_beside(self, node: WorkerController) -> int:
        others = (work for other, work in self.assigned_work.items() if other is not node)
        return sum(any(drives_a_browser(f) and not all(work[f].values()) for f in work) for work in others)
