"""The manifest of a built engine, engine.json: what was built, from what, for what."""

import hashlib
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path, PureWindowsPath

from packaging.specifiers import SpecifierSet
from pydantic import BaseModel, ConfigDict, ValidationError, field_validator

from slipway.contract import gpus
from slipway.contract.errors import EngineRefused, NoGpu, RecipeError
from slipway.contract.quantization import Quantization
from slipway.contract.recipe import DEFAULT_MAX_TOKENS, Chat, KVCache, Limits, Parallel
from slipway.contract.recipe_file import read_recipe
from slipway.contract.target import TargetByName

FORMAT = 1
FILE_NAME = "engine.json"
_HASH_CHUNK = 1 << 20
# How to get a package that `make setup` does not install.
_SOURCES = {"tensorrt_llm": "serve it in the container of docker/triton.Dockerfile"}

# Of TensorRT-LLM 1.2.1's container, tritonserver 26.07; a driver for 13.0 runs 13.1 too (CUDA's minor version
# compatibility).
_CUDA = 13


class Frozen(BaseModel):
    """A checked, immutable part of the manifest."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class FileDigest(Frozen):
    """Size in bytes and SHA-256 (hex) of one file."""

    size: int
    sha256: str

    @classmethod
    def of(cls, path: Path) -> "FileDigest":
        """Read the whole file at `path`."""
        digest = hashlib.sha256()
        with path.open("rb") as stream:
            while chunk := stream.read(_HASH_CHUNK):
                digest.update(chunk)
        return cls(size=path.stat().st_size, sha256=digest.hexdigest())


class Manifest(Frozen):
    """One built engine.

    method: how the weights were quantized, in words; None in an engine of an older Slipway.
    source: digest of every file of the checkpoint it was built from, by name.
    recipe_sha256: digest of the resolved recipe; with `source` it shows whether a build is due.
    versions: packages it was built with. requires: packages and version ranges it can be served with.
    device: "cpu", "dml" or "cuda". parallel: the GPUs that share a TensorRT-LLM engine.
    compute_capability: of the GPU for which a TensorRT-LLM engine was compiled, such as "8.9"; else None.
    eos_token_ids: every id that ends a sequence. vocab_size: rows of the logits.
    files: digest of every produced file but this one, by path below the engine's folder.
    """

    format: int = FORMAT
    name: str
    target: TargetByName
    quantization: Quantization
    method: str | None = None
    limits: Limits
    chat: Chat
    eos_token_ids: tuple[int, ...]
    vocab_size: int
    source: dict[str, FileDigest]
    recipe_sha256: str
    versions: dict[str, str]
    requires: dict[str, str]
    device: str
    created: str
    files: dict[str, FileDigest]
    kv_cache: KVCache = KVCache()
    compute_capability: str | None = None
    parallel: Parallel = Parallel()

    @field_validator("files")
    @classmethod
    def _are_inside(cls, files: dict[str, FileDigest]) -> dict[str, FileDigest]:
        for name in files:
            # The rules of Windows, which are the stricter ones: an engine may be built there or served there.
            path = PureWindowsPath(name)
            if path.anchor or ".." in path.parts or not path.parts:
                raise ValueError(f"{name!r} is not a file in the engine's folder")
        return files

    @property
    def default_max_tokens(self) -> int:
        """Tokens of an answer when the request does not say, where the context leaves as many.

        An engine of an older Slipway has none in its `chat`.
        """
        return min(self.chat.max_tokens or DEFAULT_MAX_TOKENS, self.limits.max_seq_len - 1)

    @classmethod
    def read(cls, directory: Path) -> "Manifest":
        """Read `directory`/engine.json without looking at the other files.

        Raises EngineRefused when it is missing, unreadable or of another format.
        """
        path = directory / FILE_NAME
        try:
            content = path.read_bytes()
        except OSError as error:
            if path.exists():
                raise EngineRefused(f"{path} cannot be read ({error.strerror}); copy it again.") from None
            raise EngineRefused(
                f"{directory} is not a built engine: {FILE_NAME} is missing; build one with `make engine`."
            ) from None
        try:
            found = _Format.model_validate_json(content).format
            if found != FORMAT:
                raise EngineRefused(
                    f"{path} has format {found}, this Slipway reads format {FORMAT}; build the engine again."
                )
            return cls.model_validate_json(content)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(str(part) for part in first["loc"]) or "the file"
            raise EngineRefused(
                f"{path} is damaged at {where} ({first['msg']}); build the engine again."
            ) from None

    def check_versions(self) -> None:
        """Raise EngineRefused unless every package in `requires` is installed in a version that fits."""
        for package, allowed in self.requires.items():
            try:
                installed = metadata.version(package)
            except metadata.PackageNotFoundError:
                raise EngineRefused(
                    f"Engine {self.name} needs {package} {allowed}, which is not installed; "
                    f"{_SOURCES.get(package, 'run `make setup`')}."
                ) from None
            if not SpecifierSet(allowed).contains(installed, prereleases=True):
                raise EngineRefused(
                    f"Engine {self.name} was built for {package} {allowed}, but {installed} is installed; "
                    "build the engine again or install that version."
                )

    def check_device(self) -> None:
        """Raise EngineRefused unless this machine has the GPUs of a compiled engine, and their driver."""
        if self.compute_capability is None:
            return
        count = self.parallel.world_size
        wanted = f"{count} GPUs" if count > 1 else "a GPU"
        capability = self.compute_capability
        needs = f"Engine {self.name} was compiled for {wanted} of compute capability {capability}"
        try:
            found = gpus.installed()
        except NoGpu as error:
            raise EngineRefused(f"{needs}. {error}") from None
        if [device.capability for device in found].count(capability) < count:
            raise EngineRefused(
                f"{needs}, and this machine has {', '.join(map(str, found))}; build it again "
                "here, or serve it where it was built."
            )
        cuda = gpus.driver_cuda()
        if cuda is not None and cuda[0] < _CUDA:
            raise EngineRefused(
                f"Engine {self.name} needs a driver for CUDA {_CUDA}, and this machine's ends at "
                f"{cuda[0]}.{cuda[1]}; install NVIDIA's driver 590 or newer on the machine itself, not in a "
                "container."
            )

    def check_recipe(self, directory: Path) -> None:
        """Compare the engine in `directory` with its recipe, if that lies beside it (engines/NAME.yaml).

        Raises EngineRefused when the recipe asks for more than the engine has, or cannot be read.
        """
        path = directory.parent / f"{self.name}.yaml"
        if not path.is_file():
            return
        try:
            recipe = read_recipe(path)
        except RecipeError as error:
            raise EngineRefused(f"The recipe of engine {self.name} is wrong: {error}") from None
        if (recipe.name, recipe.target) != (self.name, self.target):
            return
        for limit, asked in recipe.limits:
            held = getattr(self.limits, limit)
            if asked is not None and held is not None and asked > held:
                raise EngineRefused(
                    f"Engine {self.name} was built with {limit} {held}, and its recipe {path} asks for "
                    f"{asked}; build the engine again, or lower the recipe's limit."
                )

    def verify(self, directory: Path, names: Iterable[str] | None = None) -> None:
        """Compare the files on disk (all, or just `names`) with their digests.

        Raises EngineRefused that names the first missing or damaged file.
        """
        for name in self.files if names is None else names:
            path = directory / name
            expected = self.files.get(name)
            if expected is None:
                raise EngineRefused(f"{directory / FILE_NAME} does not list {name}; build the engine again.")
            if not path.is_file():
                raise EngineRefused(f"{path} is missing from engine {self.name}; build the engine again.")
            if not path.resolve().is_relative_to(directory.resolve()):
                raise EngineRefused(
                    f"{path} is a link that leads out of the engine's folder, to {path.resolve()}; put the "
                    "file itself there."
                )
            size = path.stat().st_size
            if size != expected.size:
                raise EngineRefused(
                    f"{path} is damaged: {size} bytes instead of {expected.size}; build the engine again."
                )
            try:
                digest = FileDigest.of(path)
            except OSError as error:
                raise EngineRefused(f"{path} cannot be read ({error.strerror}); copy it again.") from None
            if digest.sha256 != expected.sha256:
                raise EngineRefused(f"{path} is damaged: its SHA-256 does not match; build the engine again.")


def open_engine(directory: Path, names: Iterable[str] | None = None) -> Manifest:
    """Read the manifest of a built engine and refuse what must not be served.

    names: the files the caller is about to use; None checks every one.
    Raises EngineRefused in one readable sentence.
    """
    manifest = Manifest.read(directory)
    manifest.check_versions()
    manifest.check_device()
    manifest.check_recipe(directory)
    manifest.verify(directory, names)
    return manifest


class _Format(BaseModel):
    format: int
