"""Opens a page in Debian's headless Chromium and returns what the page reports.

The page stands in a folder that is served on this machine; it ends by sending JSON to /result.
"""

from __future__ import annotations

import functools
import http.server
import json
import os
import queue
import signal
import subprocess
import tempfile
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

COMMAND = ("chromium", "--headless")
# No GPU, no sandbox (root has none), none of its own business on the network, no click needed before sound.
FLAGS = (
    *("--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
    *("--autoplay-policy=no-user-gesture-required", "--enable-logging=stderr"),
)


class _Server(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, folder: Path) -> None:
        self.results: queue.Queue[bytes] = queue.Queue()
        super().__init__(("127.0.0.1", 0), functools.partial(_Handler, directory=str(folder)))


class _Handler(http.server.SimpleHTTPRequestHandler):
    def do_POST(self) -> None:
        assert isinstance(self.server, _Server)
        self.server.results.put(self.rfile.read(int(self.headers["Content-Length"])))
        self.send_response(204)
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""


def report(folder: Path, page: str, flags: Sequence[str] = (), seconds: float = 60) -> Any:
    """Open a page and wait for its report.

    Parameters
    ----------
    folder : Path
        What is served.
    page : str
        Path below it, with its query.
    flags : sequence of str
        More of Chromium's.
    seconds : float
        How long to wait.

    Returns
    -------
    Any
        The JSON that the page has sent to /result.

    Raises
    ------
    RuntimeError
        No report in time; the message ends with what Chromium has printed, the page's console included.
    """
    with _Server(folder) as server, tempfile.TemporaryDirectory() as name:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        log = Path(name) / "log"
        command = [*COMMAND, *FLAGS, *flags, f"--user-data-dir={name}/profile"]
        with log.open("wb") as output:
            chromium = subprocess.Popen(
                [*command, f"http://127.0.0.1:{server.server_port}/{page}"],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        try:
            return json.loads(server.results.get(timeout=seconds))
        except queue.Empty:
            said = log.read_text(encoding="utf-8", errors="replace")
            raise RuntimeError(f"{page}: no report after {seconds} s\n{said[-3000:]}") from None
        finally:
            os.killpg(chromium.pid, signal.SIGKILL)  # its own session: Chromium and its helpers, nothing else
            chromium.wait()
            server.shutdown()
