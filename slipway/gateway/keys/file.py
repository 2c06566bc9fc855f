"""The file with the hashes of the keys; read by `gateway.keys.keys`, written by `gateway.keys.command`.

A key is 32 random bytes, so nobody finds it by trying and a plain SHA-256 hides it; the slow, salted hashes
are for passwords, which people choose, and would cost each request what they cost whoever tries.
"""

import hashlib
import os
import secrets
from pathlib import Path
from typing import Annotated

import yaml
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from slipway.contract.errors import SlipwayError

_PREFIX = "sk-slipway-"
_RANDOM_BYTES = 32
_HEADER = "# Keys of the gateway: `slipway keys --help`. Only hashes; the keys themselves are nowhere.\n"

_Sha256 = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
_Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._@-]{0,63}$")]


class KeyFileError(SlipwayError):
    """The key file is missing, or it does not say what it must."""


class KeyEntry(BaseModel):
    """What the file says of one key."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    sha256: _Sha256
    models: list[str] | None = None
    requests_per_minute: Annotated[int, Field(ge=1)] | None = None
    tokens_per_minute: Annotated[int, Field(ge=1)] | None = None
    admin: bool = False
    disabled: bool = False


_FILE = TypeAdapter(dict[_Name, KeyEntry])


def digest(key: bytes) -> str:
    """What the file holds of a key."""
    return hashlib.sha256(key).hexdigest()


def read(path: Path) -> dict[str, KeyEntry]:
    """The entries by name. An empty file has none.

    Raises KeyFileError, which never shows what the file holds: it may be a key in the wrong place.
    """
    try:
        content = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise KeyFileError(
            f"There is no key file {path}; make it with `slipway keys new NAME --file {path}`."
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise KeyFileError(f"The key file {path} cannot be read: {reason}.") from None
    try:
        document = yaml.compose(content, Loader=yaml.SafeLoader)
        values = yaml.safe_load(content)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f", line {mark.line + 1}" if mark is not None else ""
        raise KeyFileError(f"{path}{line}: this is not YAML; mend it.") from None
    if isinstance(document, yaml.MappingNode):
        names = [str(name.value) for name, _ in document.value]
        if len(set(names)) < len(names):
            raise KeyFileError(f"{path}: a name is there twice; give every key a name of its own.")
    try:
        entries = _FILE.validate_python(values or {})
    except ValidationError as error:
        raise KeyFileError(f"{path}: {_fault(error)}.") from None
    if len({entry.sha256 for entry in entries.values()}) < len(entries):
        raise KeyFileError(f"{path}: two names have the same sha256; make a key for each with `keys new`.")
    return entries


def add(path: Path, name: str, entry: dict[str, object]) -> str:
    """Make a key, add its hash under `name` with what `entry` says, and return the key.

    Raises KeyFileError when the name is taken, or an entry cannot be so.
    """
    entries = read(path) if path.exists() else {}
    if name in entries:
        raise KeyFileError(f"{path} has a key {name} already; choose another name, or revoke it.")
    key = _PREFIX + secrets.token_urlsafe(_RANDOM_BYTES)
    try:
        entries |= _FILE.validate_python({name: {"sha256": digest(key.encode()), **entry}})
    except ValidationError as error:
        raise KeyFileError(f"{_fault(error)}.") from None
    _write(path, entries)
    return key


def revoke(path: Path, name: str) -> None:
    """Take out the key with this name. Raises KeyFileError when there is none."""
    entries = read(path)
    if entries.pop(name, None) is None:
        raise KeyFileError(f"{path} has no key {name}; it has: {', '.join(entries) or 'none'}.")
    _write(path, entries)


def _write(path: Path, entries: dict[str, KeyEntry]) -> None:
    """In one step, so that a gateway never reads half of it."""
    values = {name: entry.model_dump(exclude_defaults=True) for name, entry in entries.items()}
    new = path.with_name(f"{path.name}.new")
    try:
        new.write_text(
            _HEADER + (yaml.safe_dump(values, sort_keys=False) if values else ""), encoding="utf-8"
        )
        os.replace(new, path)  # noqa: PTH105
    except OSError as error:
        raise KeyFileError(f"The key file {path} cannot be written: {error.strerror}.") from None


def _fault(error: ValidationError) -> str:
    """The first thing that is wrong, without what stands there."""
    first = error.errors(include_url=False, include_input=False)[0]
    where = _place(first["loc"])
    if first["type"] == "extra_forbidden":
        return f"{where} is not known; an entry has {', '.join(KeyEntry.model_fields)}"
    if "[key]" in first["loc"]:
        return f"{where} cannot be a name; one has up to 64 letters, digits and ._@-, no blanks"
    return f"{where}: {first['msg']}"


def _place(location: tuple[int | str, ...]) -> str:
    """Without names that are no names, which may be keys."""
    return ".".join(str(part) for part in location if part != "[key]" and len(str(part)) <= 64) or "it"
