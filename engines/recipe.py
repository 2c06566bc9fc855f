"""A recipe (engines/NAME.yaml): which checkpoint becomes which engine; read by `build`."""

from pathlib import Path
from typing import Annotated, Any, Literal, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError, model_validator

from engines.errors import RecipeError

Target = Literal["onnx-cpu"]
Quantization = Literal["int4", "int8"]
Positive = Annotated[int, Field(gt=0)]


class Section(BaseModel):
    """A part of a recipe; unknown keys are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Limits(Section):
    """What the engine is built to hold, in sequences and tokens.

    max_input_len: longest prompt. max_seq_len: longest prompt and answer together.
    """

    max_batch_size: Positive = 16
    max_input_len: Positive = 4096
    max_seq_len: Positive = 8192

    @model_validator(mode="after")
    def input_fits_sequence(self) -> Self:
        """A prompt must leave room for at least one token."""
        if self.max_input_len >= self.max_seq_len:
            raise ValueError(
                f"max_input_len {self.max_input_len} must be below max_seq_len {self.max_seq_len}, "
                "which holds the prompt and the answer"
            )
        return self


class Chat(Section):
    """How conversations are put to the model.

    system: the default system prompt, used when a conversation brings none.
    template: a Jinja file that replaces the checkpoint's chat template.
    stop: strings that end every answer, beside those of the request.
    """

    system: str | None = None
    template: Path | None = None
    stop: tuple[Annotated[str, StringConstraints(min_length=1)], ...] = ()


class Recipe(Section):
    """One engine to build."""

    name: Annotated[str, StringConstraints(pattern=r"^[a-zA-Z0-9][a-zA-Z0-9._-]{0,99}$")]
    checkpoint: Path
    target: Target
    quantization: Quantization
    limits: Limits = Limits()
    chat: Chat = Chat()


def read_recipe(path: Path) -> Recipe:
    """Read and check a recipe.

    Raises RecipeError that names the file, the line, the key and the allowed values.
    """
    try:
        content = path.read_text(encoding="utf-8")
    except OSError as error:
        raise RecipeError(f"Recipe {path} cannot be read: {error.strerror}.") from None
    try:
        document = yaml.compose(content, Loader=yaml.SafeLoader)
        values = yaml.safe_load(content)
    except yaml.YAMLError as error:
        raise RecipeError(f"{path} is not YAML: {error}") from None
    if not isinstance(values, dict):
        raise RecipeError(f"{path} must be a mapping with the keys {', '.join(Recipe.model_fields)}.")
    try:
        return Recipe.model_validate(values)
    except ValidationError as error:
        lines = [_sentence(path, document, detail) for detail in error.errors()]
        raise RecipeError("\n".join(lines)) from None


def _sentence(path: Path, document: yaml.Node | None, detail: Any) -> str:
    location = [str(part) for part in detail["loc"]]
    key = ".".join(location) or "the recipe"
    message = detail["msg"].removeprefix("Value error, ")
    if detail["type"] == "extra_forbidden":
        section = _section(location[:-1])
        message = f"unknown key; allowed here: {', '.join(section.model_fields)}"
    return f"{path}:{_line(document, location)}: {key}: {message}."


def _section(location: list[str]) -> type[BaseModel]:
    section: type[BaseModel] = Recipe
    for part in location:
        annotation = section.model_fields[part].annotation
        assert isinstance(annotation, type)
        assert issubclass(annotation, BaseModel)
        section = annotation
    return section


def _line(node: yaml.Node | None, location: list[str]) -> int:
    """The line (from 1) of the deepest key of `location` that the file has."""
    line = node.start_mark.line + 1 if node else 1
    for part in location:
        if not isinstance(node, yaml.MappingNode):
            break
        for key, value in node.value:
            if key.value == part:
                line, node = key.start_mark.line + 1, value
                break
        else:
            break
    return line
