"""Reads a recipe file; errors name the line."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError

from slipway.contract.errors import RecipeError
from slipway.contract.recipe import Recipe


def read_recipe(path: Path) -> Recipe:
    """Read and check a recipe.

    Raises RecipeError that names the file, the line, the key and the allowed values.
    """
    try:
        content = path.read_text(encoding="utf-8")
    except OSError as error:
        raise RecipeError(
            f"Recipe {path} cannot be read: {error.strerror}; a recipe is a file such as "
            "engines/smollm2-135m-int4.yaml."
        ) from None
    except UnicodeDecodeError:
        raise RecipeError(f"Recipe {path} cannot be read: it is not UTF-8; save it so.") from None
    try:
        document = yaml.compose(content, Loader=yaml.SafeLoader)
        values = yaml.safe_load(content)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f"{path}:{mark.line + 1}" if mark else str(path)
        raise RecipeError(f"{line} is not YAML: {getattr(error, 'problem', None) or error}.") from None
    except ValueError as error:  # Looks like a date but is not one.
        raise RecipeError(f"{path} is not YAML: {error}; put quotes around text that is no date.") from None
    if not isinstance(values, dict):
        raise RecipeError(f"{path} must be a mapping with the keys {', '.join(Recipe.model_fields)}.")
    if twice := [f"{path}:{line}: {key}: is there twice; keep one." for line, key in _twice(document)]:
        raise RecipeError("\n".join(twice))
    try:
        return Recipe.model_validate(values)
    except ValidationError as error:
        lines = [_sentence(path, document, detail) for detail in error.errors()]
        raise RecipeError("\n".join(lines)) from None


def _twice(node: yaml.Node | None, outer: str = "") -> Iterator[tuple[int, str]]:
    """Line and name of each repeated key; YAML takes the last value without an error."""
    if not isinstance(node, yaml.MappingNode):
        return
    seen = set()
    for key, value in node.value:
        name = f"{outer}{key.value}"
        if name in seen:
            yield key.start_mark.line + 1, name
        seen.add(name)
        yield from _twice(value, f"{name}.")


def _sentence(path: Path, document: yaml.Node | None, detail: Any) -> str:
    location = [str(part) for part in detail["loc"]]
    message = _message(detail, location)
    if detail["type"] == "value_error":
        # A contradiction: its sentence begins with the key.
        location += message.split()[0].split(".")
        return f"{path}:{_line(document, location)}: {message}."
    return f"{path}:{_line(document, location)}: {'.'.join(location)}: {message}."


def _message(detail: Any, location: list[str]) -> str:
    """The sentence for an error: pydantic's own where it fits a recipe."""
    match detail["type"]:
        case "extra_forbidden":
            return f"unknown key; allowed here: {', '.join(_section(location[:-1]).model_fields)}"
        case "model_type":
            return f"must be a mapping with the keys {', '.join(_section(location).model_fields)}"
        case "tuple_type":
            return "must be a list, such as [first, second]"
        case "string_pattern_mismatch":
            return (
                f"{detail['input']!r} must be up to 100 letters, digits and ._-, "
                "the first of them a letter or digit"
            )
        case _:
            return str(detail["msg"]).removeprefix("Value error, ")


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
