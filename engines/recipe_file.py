"""Reading a recipe's file, with errors that name the line; called by `build`."""

from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError

from engines.errors import RecipeError
from engines.recipe import Recipe


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
