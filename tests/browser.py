"""Chromium without a window, driven over a pipe: pages are opened, looked at, and their complaints are collected."""

import base64
import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from time import monotonic
from typing import Any

#: A page that takes longer than this hangs.
PATIENCE = 60


def chromium() -> str | None:
    """Where the browser is; None if it is not installed."""
    return shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


class Page:
    """One page; `complaints` holds what it wrote to the console, what it threw, and what it was refused."""

    def __init__(self, to_browser: int, from_browser: int, *, network: bool) -> None:
        self._out, self._in = os.fdopen(to_browser, "wb", 0), os.fdopen(from_browser, "rb")
        self._number, self._session = 0, None
        self.complaints: list[str] = []
        target = self.send("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.send("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.send(f"{domain}.enable")
        if not network:
            nothing = {"latency": 0, "downloadThroughput": -1, "uploadThroughput": -1}
            self.send("Network.emulateNetworkConditions", offline=True, **nothing)

    def send(self, method: str, **params: Any) -> dict[str, Any]:
        """Give a command, and return its answer."""
        self._number += 1
        message: dict[str, Any] = {"id": self._number, "method": method, "params": params}
        if self._session:
            message["sessionId"] = self._session
        self._out.write(json.dumps(message).encode() + b"\0")
        while (answer := self._next()).get("id") != self._number:
            pass
        assert "error" not in answer, answer
        return answer["result"]

    def open(self, place: Path | str, width: int, *, dark: bool = False) -> None:
        """Open a file, or an address, at a width in CSS pixels, and wait until it is loaded."""
        address = place if isinstance(place, str) else place.resolve().as_uri()
        self.send("Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1, mobile=False)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.send("Emulation.setEmulatedMedia", features=[scheme])
        self.send("Page.navigate", url=address)
        while self.evaluate("document.readyState") != "complete":
            pass

    def evaluate(self, expression: str) -> Any:
        """Return what an expression is in the page, as plain data."""
        answer = self.send("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def until(self, expression: str) -> Any:
        """Wait until an expression is true in the page, and return what it is."""
        end = monotonic() + PATIENCE
        while not (found := self.evaluate(expression)):
            assert monotonic() < end, f"it never became true: {expression}; {self.complaints}"
            self.evaluate("new Promise(resolve => setTimeout(resolve, 50))")
        return found

    def press(self, key: str, *, code: int, text: str = "") -> None:
        """Press a key: its name, its number, and what it types."""
        for kind in ("keyDown", "keyUp"):
            typed = {"text": text} if text and kind == "keyDown" else {}
            self.send("Input.dispatchKeyEvent", type=kind, key=key, windowsVirtualKeyCode=code, **typed)

    def picture(self, path: Path, *, whole: bool = True, **clip: float) -> None:
        """Write a picture of the page, or of a part of it: x, y, width, height."""
        more = {"clip": {**clip, "scale": 1}} if clip else {}
        answer = self.send("Page.captureScreenshot", format="png", captureBeyondViewport=whole, **more)
        path.write_bytes(base64.b64decode(answer["data"]))

    def printed(self) -> bytes:
        """Return the page as PDF."""
        return base64.b64decode(self.send("Page.printToPDF")["data"])

    def _next(self) -> dict[str, Any]:
        data = bytearray()
        while (byte := self._in.read(1)) != b"\0":
            assert byte, "the browser has gone"
            data += byte
        message = json.loads(data)
        kind, params = message.get("method"), message.get("params", {})
        if kind == "Log.entryAdded":
            self.complaints.append(params["entry"]["text"])
        elif kind == "Runtime.exceptionThrown":
            self.complaints.append(params["exceptionDetails"]["text"])
        elif kind == "Runtime.consoleAPICalled":
            self.complaints.append(str(params["args"]))
        return message


@contextmanager
def browser(profile: Path, *, network: bool = False) -> Iterator[Page]:
    """Start the browser with a profile of its own, without the network unless it is wanted; it ends with the block."""
    command_read, command_write = os.pipe()
    answer_read, answer_write = os.pipe()

    def at_three_and_four() -> None:
        os.dup2(command_read, 103)
        os.dup2(answer_write, 104)
        os.dup2(103, 3)
        os.dup2(104, 4)

    flags = ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"]
    process = subprocess.Popen(
        [chromium() or "chromium", *flags, "--remote-debugging-pipe", f"--user-data-dir={profile}"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        close_fds=False,
        preexec_fn=at_three_and_four,
    )
    os.close(command_read)
    os.close(answer_write)
    try:
        yield Page(command_write, answer_read, network=network)
    finally:
        process.kill()
        process.wait(PATIENCE)
