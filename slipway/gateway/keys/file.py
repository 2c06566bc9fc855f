"""The key file: the hashes of the API keys, and what each key may do.

A key is 32 random bytes, so no attacker can guess it, and a plain SHA-256 hides it. Slow, salted hashes are
for passwords that people choose; here they would slow down each request.
"""

import hashlib
import secrets
from pathlib import Path
from typing import Annotated

import yaml
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from slipway.contract.errors import SlipwayError
from slipway.contract.whole_files import replacing

_PREFIX = "sk-slipway-"
_RANDOM_BYTES = 32
_HEADER = "# Keys of the gateway: `slipway keys --help`. This file has only their hashes.\n"

_Sha256 = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
_Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._@-]{0,63}$")]


class KeyFileError(SlipwayError):
    """The key file is missing, or its content is wrong."""


class KeyEntry(BaseModel):
    """The entry of one key."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    sha256: _Sha256
    models: list[str] | None = None
    requests_per_minute: Annotated[int, Field(ge=1)] | None = None
    tokens_per_minute: Annotated[int, Field(ge=1)] | None = None
    admin: bool = False
    disabled: bool = False


_FILE = TypeAdapter(dict[_Name, KeyEntry])


def digest(key: bytes) -> str:
    """Return the hash of a key."""
    return hashlib.sha256(key).hexdigest()


def read(path: Path) -> dict[str, KeyEntry]:
    """Return the entries by name. An empty file has none.

    Raises KeyFileError, which never quotes the file: a key may be in it by mistake.
    """
    try:
        content = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise KeyFileError(
            f"There is no key file {path}; create it with `slipway keys new NAME --file {path}`."
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
        raise KeyFileError(f"{path}{line}: this is not YAML; correct it.") from None
    if isinstance(document, yaml.MappingNode):
        names = [str(name.value) for name, _ in document.value]
        if len(set(names)) < len(names):
            raise KeyFileError(f"{path}: two keys have the same name; give each key its own name.")
    try:
        entries = _FILE.validate_python(values or {})
    except ValidationError as error:
        raise KeyFileError(f"{path}: {_fault(error)}.") from None
    if len({entry.sha256 for entry in entries.values()}) < len(entries):
        raise KeyFileError(f"{path}: two names have the same sha256; make a key for each with `keys new`.")
    return entries


def add(path: Path, name: str, entry: dict[str, object]) -> str:
    """Make a key, add its hash and the fields of `entry` to the file under `name`, and return the key.

    Raises KeyFileError when the name is in use or the entry is not valid.
    """
    entries = read(path) if path.exists() else {}
    if name in entries:
        raise KeyFileError(f"{path} already has a key {name}; choose another name, or revoke that key first.")
    key = _PREFIX + secrets.token_urlsafe(_RANDOM_BYTES)
    try:
        entries |= _FILE.validate_python({name: {"sha256": digest(key.encode()), **entry}})
    except ValidationError as error:
        raise KeyFileError(f"{_fault(error)}.") from None
    _write(path, entries)
    return key


def revoke(path: Path, name: str) -> None:
    """Remove the key with this name. Raises KeyFileError when there is none."""
    entries = read(path)
    if entries.pop(name, None) is None:
        raise KeyFileError(f"{path} has no key {name}; its keys: {', '.join(entries) or 'none'}.")
    _write(path, entries)


def _write(path: Path, entries: dict[str, KeyEntry]) -> None:
    """Replace the file in one step, so that a gateway never reads half of it."""
    values = {name: entry.model_dump(exclude_defaults=True) for name, entry in entries.items()}
    content = _HEADER + (yaml.safe_dump(values, sort_keys=False) if values else "")
    try:
        with replacing(path) as file:
            file.write(content.encode())
    except OSError as error:
        raise KeyFileError(f"The key file {path} cannot be written: {error.strerror}.") from None


def _fault(error: ValidationError) -> str:
    """Return the first error, without the value."""
    first = error.errors(include_url=False, include_input=False)[0]
    where = _place(first["loc"])
    if first["type"] == "extra_forbidden":
        return f"{where} is not known; an entry can have {', '.join(KeyEntry.model_fields)}"
    if "[key]" in first["loc"]:
        return f"{where} cannot be a name; a name has up to 64 letters, digits and ._@-, no spaces"
    return f"{where}: {first['msg']}"


def _place(location: tuple[int | str, ...]) -> str:
    """Return the location without invalid names, which may be keys."""
    return ".".join(str(part) for part in location if part != "[key]" and len(str(part)) <= 64) or "it"
