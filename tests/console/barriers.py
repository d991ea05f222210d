"""What axe finds in a page that keeps people out of it."""

from __future__ import annotations

from typing import Final

from axe_playwright_python.async_playwright import Axe
from playwright.async_api import Page

_SERIOUS: Final = frozenset({"serious", "critical"})
_AT_REST: Final = """() => !document.querySelector(".q-loading-bar[role]") && document.getAnimations().every(
    one => one.playState !== "running" || one.effect.getComputedTiming().endTime === Infinity)"""


async def barriers(page: Page) -> list[str]:
    """What axe finds serious in a page, with what is open in it, once that has faded in."""
    await page.wait_for_function(_AT_REST)
    # It takes a dialog's buttons to stand on what lies behind the dialog; their colours are those of the pages.
    colours = await page.get_by_role("dialog").count() == 0
    results = await Axe().run(page, options={"rules": {"color-contrast": {"enabled": colours}}})
    return [
        f"{one['id']}: {[node['html'][:200] for node in one['nodes']]}"
        for one in results.response["violations"]
        if one["impact"] in _SERIOUS
    ]
