"""A local server from which datasets are downloaded, and photographs to serve."""

from __future__ import annotations

import threading
import zlib
from collections.abc import Callable, Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
from PIL import Image


class Quiet(SimpleHTTPRequestHandler):
    """A handler without log lines; it serves only the first half of a file that `NAME.broken` marks."""

    def log_message(self, *arguments: object) -> None:
        pass

    def copyfile(self, source, outputfile) -> None:  # type: ignore[no-untyped-def]
        content = source.read()
        broken = Path(f"{source.name}.broken").exists()
        outputfile.write(content[: len(content) // 2] if broken else content)


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Path, str]]:
    """A folder, and the address that serves its files."""
    folder = tmp_path / "served"
    folder.mkdir()
    monkeypatch.setenv("no_proxy", "*")
    httpd = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder)))
    thread = threading.Thread(target=httpd.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield folder, f"http://127.0.0.1:{httpd.server_port}/"
    httpd.shutdown()
    thread.join()
    httpd.server_close()


Paint = Callable[..., Path]


@pytest.fixture(scope="session")
def paint() -> Paint:
    """Write a real JPEG: `paint(path)`, `paint(path, (500, 375))`, `paint(path, mode="L")`."""

    def paint(path: Path, size: tuple[int, int] = (64, 64), mode: str = "RGB") -> Path:
        """Fill with smooth colors that depend on the file's name only."""
        rng = np.random.default_rng(zlib.crc32(path.name.encode()))
        coarse = Image.fromarray(rng.integers(0, 256, (4, 4, 3), np.uint8))
        path.parent.mkdir(parents=True, exist_ok=True)
        coarse.resize(size, Image.Resampling.BICUBIC).convert(mode).save(path, "JPEG", quality=90)
        return path

    return paint
