"""The stub of Triton's Python backend, and the library that it links."""

import os
import sys
import sysconfig
from pathlib import Path

import pytest

from slipway.contract.errors import ServerFailed
from slipway.serve import python_backend


def stub(directory: Path, script: str) -> Path:
    path = directory / python_backend.STUB
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return path


def test_a_stub_without_pythons_library_is_refused_with_the_package_to_install(tmp_path: Path) -> None:
    missing = "error while loading shared libraries: libpython3.11.so.1.0: cannot open shared object file"
    program = stub(tmp_path, f'echo "$0: {missing}" >&2; exit 127')
    with pytest.raises(ServerFailed, match=r"libpython3\.11\.so\.1\.0: .*apt install libpython3\.1"):
        python_backend.check_stub(program, os.environ)


def test_a_stub_for_another_system_is_refused(tmp_path: Path) -> None:
    program = stub(tmp_path, "echo \"$0: /lib/libc.so.6: version 'GLIBC_2.99' not found\" >&2; exit 1")
    with pytest.raises(ServerFailed, match=r"GLIBC_2\.99' not found\.$"):
        python_backend.check_stub(program, os.environ)


def test_a_stub_that_prints_how_to_call_it_is_taken(tmp_path: Path) -> None:
    program = stub(tmp_path, "echo 'I1130 pb_stub.cc:2059]  Expected 9 arguments, found 1' >&2; exit 1")
    python_backend.check_stub(program, os.environ)


def test_the_library_of_this_python_lies_beside_the_stub(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As with the Pythons of uv, conda and pyenv, which keep it where the loader does not look."""
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    library = tmp_path / "python" / "lib" / f"libpython{version}.so.1.0"
    library.parent.mkdir(parents=True)
    library.touch()
    wheel = tmp_path / "tritonserver"
    (wheel / "backends" / "python").mkdir(parents=True)
    (wheel / "python_backend_stubs" / version).mkdir(parents=True)
    stub(wheel / "python_backend_stubs" / version, "exit 1")
    monkeypatch.setattr(sysconfig, "get_config_var", {"LIBDIR": "/nowhere"}.get)
    monkeypatch.setattr(sys, "base_prefix", str(tmp_path / "python"))
    backends = python_backend.install(tmp_path, tmp_path / "cache")
    assert (backends / "python" / library.name).resolve() == library
    assert python_backend.install(tmp_path, tmp_path / "cache") == backends
