"""A headless Chromium, driven by the Chrome DevTools Protocol."""

import base64
import json
import math
import shutil
import subprocess
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from websockets.sync.client import ClientConnection, connect

BROWSERS = ("chromium-headless-shell", "chromium", "google-chrome")
PATIENCE = 20.0  # seconds for whatever is waited for


def browser() -> str:
    """The first of BROWSERS that is there; the test is skipped where none is."""
    found = next(filter(None, map(shutil.which, BROWSERS)), None)
    return found or pytest.skip(f"needs {BROWSERS[0]}")


class Page:
    """An open page. What it asked the network for is kept in `asked`, what its script failed at in `failed`."""

    def __init__(self, socket: ClientConnection) -> None:
        self.socket, self.number = socket, 0
        self.asked, self.failed = list[str](), list[str]()
        for domain in ("Page", "Runtime", "Network", "Log"):
            self.send(f"{domain}.enable")

    def send(self, method: str, **parameters: Any) -> dict[str, Any]:
        """What a command gives; events that come before it are looked at."""
        self.number += 1
        self.socket.send(json.dumps({"id": self.number, "method": method, "params": parameters}))
        while (said := json.loads(self.socket.recv(timeout=PATIENCE))).get("id") != self.number:
            self.happened(said["method"], said["params"])
        assert "error" not in said, said
        return dict(said["result"])

    def happened(self, method: str, about: dict[str, Any]) -> None:
        """An event."""
        if method == "Network.requestWillBeSent":
            self.asked.append(about["request"]["url"])
        elif method == "Runtime.exceptionThrown":
            self.failed.append(str(about["exceptionDetails"]))
        elif method == "Log.entryAdded" and about["entry"]["source"] == "security":
            self.failed.append(about["entry"]["text"])

    def run(self, script: str) -> Any:
        """The value of an expression of JavaScript."""
        found = self.send("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in found, found
        return found["result"].get("value")

    def until(self, condition: str) -> None:
        """Wait until an expression is true."""
        end = time.monotonic() + PATIENCE
        while not self.run(f"Boolean({condition})"):
            assert time.monotonic() < end, f"never: {condition}\n{self.run('document.body.innerText')}\n{self.failed}"
            time.sleep(0.05)

    def open(self, url: str, width: int, height: int = 900) -> None:
        """Open a page in a window of this size, as it is once it is loaded."""
        sizes = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
        self.send("Emulation.setDeviceMetricsOverride", **sizes)
        self.send("Page.navigate", url=url)
        self.until(f"document.readyState === 'complete' && location.href.startsWith({json.dumps(url)})")

    def type(self, selector: str, text: str) -> None:
        """Put a text in a field, in place of what stands there."""
        self.run(f"(box => {{ box.focus(); box.select(); }})(document.querySelector({json.dumps(selector)}))")
        self.send("Input.insertText", text=text)

    def click(self, selector: str) -> None:
        """Click where an element is."""
        found = f"document.querySelector({json.dumps(selector)})"
        self.run(f"{found}.scrollIntoView({{block: 'center'}})")
        x, y = self.run(f"(r => [r.x + r.width / 2, r.y + r.height / 2])({found}.getBoundingClientRect())")
        for kind in ("mousePressed", "mouseReleased"):
            self.send("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)

    def picture(self, path: Path, most: float = math.inf) -> None:
        """The page as a PNG, or so many pixels of it from the top."""
        size = self.send("Page.getLayoutMetrics")["cssContentSize"]
        clip = {"x": 0, "y": 0, "width": size["width"], "height": min(size["height"], most), "scale": 1}
        found = self.send("Page.captureScreenshot", format="png", captureBeyondViewport=True, clip=clip)
        path.write_bytes(base64.b64decode(found["data"]))


@contextmanager
def opened() -> Iterator[Page]:
    """An empty page of a browser."""
    with tempfile.TemporaryDirectory(prefix="browser-", ignore_cleanup_errors=True) as folder:
        port = Path(folder) / "DevToolsActivePort"
        options = ("--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--remote-debugging-port=0")
        command = (browser(), *options, f"--user-data-dir={folder}", "about:blank")
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            end = time.monotonic() + PATIENCE
            while not (port.exists() and port.read_text().count("\n")):
                assert time.monotonic() < end and process.poll() is None, "the browser does not start"
                time.sleep(0.05)
            with urllib.request.urlopen(f"http://127.0.0.1:{port.read_text().split()[0]}/json") as listed:
                (page,) = [each for each in json.load(listed) if each["type"] == "page"]
            with connect(page["webSocketDebuggerUrl"], max_size=None) as socket:
                yield Page(socket)
        finally:
            process.terminate()
            process.wait(timeout=PATIENCE)
