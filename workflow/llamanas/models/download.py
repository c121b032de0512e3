"""Download a wheel from where pip finds it, going on from its last byte after an interruption, which pip cannot."""

import errno
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from http.client import HTTPException, HTTPResponse
from math import ceil
from pathlib import Path
from urllib.error import HTTPError
from urllib.parse import unquote, urlsplit
from urllib.request import Request, urlopen

from packaging.requirements import Requirement
from packaging.utils import InvalidWheelFilename, parse_wheel_filename

from llamanas.progress import progress
from llamanas.provenance import sha256_of

_LINK = re.compile(r"Found link ([^\s#]+)")
_BLOCK = 2**20
_SILENCE = 60  # seconds


def resumed_wheel(requirement: str, sha256: str, folder: Path, waits: tuple[float, ...]) -> Path | None:
    """The wheel with this checksum, in ``folder``; None where pip has to fetch it itself.

    What has arrived stays in ``folder`` until all has, whatever happens to this process. After each of ``waits``, in
    seconds, it goes on once more.

    Raises:
        OSError: no space left on the device.
    """
    url = _only_wheel(Requirement(requirement))
    if url is None:
        return None
    part = folder / f".{sha256}.part"
    for wait in (*waits, None):
        try:
            whole = _go_on(url, part)
        except (OSError, HTTPException) as error:
            if isinstance(error, OSError) and error.errno == errno.ENOSPC:
                raise
            print(f"the download broke off: {error!r}", file=sys.stderr)
            whole = False
        if whole and sha256_of(part) == sha256:
            return part.replace(folder / unquote(Path(urlsplit(url).path).name))
        if whole:
            part.unlink()
            return None
        if wait is not None:
            time.sleep(wait)
    return None


def _only_wheel(requirement: Requirement) -> str | None:
    """Address of the wheel of exactly this version, if pip names one alone: of several it would have to choose."""
    command = [sys.executable, "-m", "pip", "index", "versions", "-vv", "--no-input", "--disable-pip-version-check"]
    answer = subprocess.run([*command, requirement.name], capture_output=True, text=True, errors="replace")
    found = set()
    for url in _LINK.findall(answer.stdout + answer.stderr):
        try:
            _, version, *_ = parse_wheel_filename(unquote(Path(urlsplit(url).path).name))
        except InvalidWheelFilename:
            continue
        if requirement.specifier.contains(version, prereleases=True):
            found.add(url)
    return found.pop() if len(found) == 1 and urlsplit(next(iter(found))).scheme.startswith("http") else None


def _go_on(url: str, part: Path) -> bool:
    """Append what is missing of a file; whether it is whole now."""
    have = part.stat().st_size if part.exists() else 0
    try:
        with urlopen(Request(url, headers={"Range": f"bytes={have}-"} if have else {}), timeout=_SILENCE) as answer:
            continued = answer.status == 206
            left = int(answer.headers["Content-Length"] or 0)
            with part.open("ab" if continued else "wb") as file:
                for block in progress(_blocks(answer), "download", ceil(left / _BLOCK), "MiB"):
                    file.write(block)
    except HTTPError as error:
        if error.code != 416:  # which says that nothing is missing
            raise
        return True
    return part.stat().st_size == left + have * continued


def _blocks(answer: HTTPResponse) -> Iterator[bytes]:
    while block := answer.read(_BLOCK):
        yield block
