"""Look at the built documentation, and at ``dream-agents watch``, in headless Chromium.

    mkdocs build --site-dir /tmp/site
    python scripts/docs/browser.py /tmp/site [--pictures FOLDER] [--page index results ...] [--no-watch]

opens pages at desktop and phone width, in light and dark. It ends with 1 where the console has an error, a page scrolls
sideways, a picture is missing, or the search does not find ``MPPI``. Needs ``playwright`` and a Chromium
(``--browser PATH``).
"""

from __future__ import annotations

import argparse
import functools
import http.server
import re
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from typing import Any

PAGES = ("", "results/", "benchmarks/", "gallery/", "api/", "experiments/", "watch/", "tutorials/planners/")
WIDTHS = {"desktop": (1280, 800), "phone": (390, 844)}
_WATCHED = "dream_mpc-walker-walk"
#: what software rendering says of itself
_NOT_ERRORS = re.compile(r"GPU stall|WebGL|GL Driver|favicon", re.IGNORECASE)


def main() -> int:
    """Open all, print a line each, and return 1 where something is wrong."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("site", type=Path, help="folder that mkdocs built")
    parser.add_argument("--pictures", type=Path, help="where screenshots go; default: a temporary folder")
    parser.add_argument("--page", nargs="*", default=PAGES, help="addresses under the site, such as results/")
    parser.add_argument("--no-watch", action="store_true")
    parser.add_argument("--browser", default="/usr/bin/chromium")
    options = parser.parse_args()
    if not (options.site / "index.html").is_file():
        parser.error(
            f"{options.site} has no index.html; build it with mkdocs build --site-dir {options.site}"
        )
    pictures = options.pictures or Path(tempfile.mkdtemp(prefix="dream-agents-pages-"))
    pictures.mkdir(parents=True, exist_ok=True)
    from playwright.sync_api import sync_playwright

    wrong = 0
    server = _serve(options.site)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=options.browser, args=["--no-sandbox", "--use-gl=swiftshader"]
        )
        site = f"http://127.0.0.1:{server.server_address[1]}/"
        wrong += _look_at_all(browser, site, options.page, pictures, wait=300)
        wrong += _search(browser, site)
        if not options.no_watch:
            wrong += _look_at_watch(browser, pictures)
        browser.close()
    server.shutdown()
    print(f"{wrong} wrong; pictures in {pictures}")
    return int(wrong > 0)


def _serve(folder: Path) -> http.server.ThreadingHTTPServer:
    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_: Any) -> None:
            pass

    server = http.server.ThreadingHTTPServer(
        ("127.0.0.1", 0), functools.partial(Quiet, directory=str(folder))
    )
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server


def _look_at_all(browser: Any, site: str, pages: Any, pictures: Path, wait: int) -> int:
    wrong = 0
    for width, (across, down) in WIDTHS.items():
        for scheme in ("light", "dark"):
            context = browser.new_context(
                viewport={"width": across, "height": down}, color_scheme=scheme, is_mobile=False
            )
            for address in pages:
                name = f"{address.strip('/').replace('/', '-') or 'home'}-{width}-{scheme}"
                faults = _look_at(context, site + address, pictures / f"{name}.png", wait)
                print(f"{name}: {'; '.join(faults) or 'ok'}", flush=True)
                wrong += len(faults)
            context.close()
    return wrong


def _look_at(context: Any, address: str, picture: Path, wait: int) -> list[str]:
    """Open a page, and return what is wrong with it."""
    page = context.new_page()
    faults: list[str] = []
    page.on(
        "console",
        lambda message: (
            faults.append(f"console: {message.text[:150]}")
            if message.type == "error" and not _NOT_ERRORS.search(message.text)
            else None
        ),
    )
    page.on("pageerror", lambda error: faults.append(f"error: {str(error)[:150]}"))
    answer = page.goto(address, wait_until="load", timeout=60_000)
    if answer.status != 200:
        faults.append(f"HTTP {answer.status}")
    page.wait_for_timeout(wait)
    across, shown = page.evaluate(
        "[document.documentElement.scrollWidth, document.documentElement.clientWidth]"
    )
    if across > shown:
        faults.append(f"scrolls sideways: {across} pixels on {shown}")
    missing = page.evaluate("[...document.images].filter(i => i.complete && !i.naturalWidth).map(i => i.src)")
    faults += [f"no picture: {source}" for source in missing]
    page.screenshot(path=str(picture), timeout=180_000)  # software rendering is slow
    page.close()
    return faults


def _search(browser: Any, site: str) -> int:
    """Type a word as a reader does, and see that pages come up."""
    page = browser.new_page(viewport={"width": 1280, "height": 800})
    page.goto(site, wait_until="load")
    page.locator("input.md-search__input").click()
    page.wait_for_timeout(1000)
    page.keyboard.type("MPPI", delay=50)
    try:
        page.wait_for_selector(".md-search-result__item", state="attached", timeout=60_000)
    except Exception as error:
        print(f"search: {error}")
        return 1
    found = page.locator(".md-search-result__item").count()
    page.close()
    print(f"search for MPPI: {found} pages")
    return 0


def _look_at_watch(browser: Any, pictures: Path) -> int:
    """Start the command and open its page, twice at once for the first size."""
    command = "from dream_agents.cli import main; main()"
    process = subprocess.Popen(
        [sys.executable, "-c", command, "watch", _WATCHED, "--port", "0"],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        assert process.stdout is not None
        for line in process.stdout:
            found = re.search(r"http://127\.0\.0\.1:[1-9]\d*", line)
            if found:
                break
        else:
            print("watch: no address")
            return 1
        other = browser.new_page()  # the second visitor
        other.goto(found[0], wait_until="load")
        wrong = _look_at_all(browser, found[0], ("/",), pictures / "watch", wait=8000)
        other.close()
        return wrong
    finally:
        process.terminate()
        process.wait(30)


if __name__ == "__main__":
    sys.exit(main())
