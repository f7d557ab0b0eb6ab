"""The browser of the browser tests: the machine's own."""

from __future__ import annotations

import os
import shutil
from typing import Any

OF_PLAYWRIGHT = (
    "AvoidUnnecessaryBeforeUnloadCheckSync",
    "DestroyProfileOnBrowserClose",
    "HttpsUpgrades",
    "HttpsFirstBalancedModeAutoEnable",
    "LensOverlay",
    "MediaRouter",
    "PaintHolding",
    "ThirdPartyStoragePartitioning",
    "AvoidCorsURLLoaderRestartOnRedirect",
    "OptimizationHints",
    "NetworkTimeServiceQuerying",
    "AimEnabled",
    "PreconnectToSearch",
)
"""What Playwright disables: our list takes the place of its own."""
ADDRESS_BAR = ("WebUIOmniboxPopup", "WebUIOmniboxFullPopup", "WebUIOmniboxAimPopup")
"""Pages that Chromium makes ready in each new window, for an address bar that nobody types into. They cost
half of what a window costs."""
ARGUMENTS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    f"--disable-features={','.join((*OF_PLAYWRIGHT, *ADDRESS_BAR))}",
)
CALM: dict[str, Any] = {"reduced_motion": "reduce"}
"""Of a window. Icons that turn are painted anew sixty times a second, by the processor here: more than what a
page is tested for costs."""
NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


def chromium_path() -> str:
    """Of ``CHROMIUM``, or the first that is installed."""
    for name in filter(None, (os.environ.get("CHROMIUM"), *NAMES)):
        if found := shutil.which(name):
            return found
    raise LookupError("The browser tests need Chromium or Chrome. `make test` installs it where it may.")
