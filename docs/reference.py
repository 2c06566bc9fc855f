"""The reference pages of the site, made from the code when mkdocs builds it."""

import json
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import typer

from slipway.contract.recipe import Recipe
from slipway.contract.target import TARGETS, Target

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.files import Files

ROOT = Path(__file__).parent.parent
Schema = Mapping[str, Any]
_ONNX = [target for target in TARGETS.values() if target.runtime in ("onnxruntime", "genai")]
_COMPARED = ("tensorrt-llm", "tensorrt-llm-llmapi")
_DEVICES = {"cpu": "CPU", "dml": "Windows GPU, by DirectML", "cuda": "NVIDIA GPU"}


def on_files(files: "Files", config: "MkDocsConfig") -> "Files":
    """Add the pages; mkdocs calls this. Another process writes them, because Locust patches its sockets."""
    from mkdocs.structure.files import File

    made = subprocess.run([sys.executable, "-m", "docs.reference"], cwd=ROOT, capture_output=True, text=True)
    if made.returncode:
        raise SystemExit(f"docs/reference.py failed:\n{made.stderr}")
    for name, text in json.loads(made.stdout).items():
        files.append(File.generated(config, f"reference/{name}.md", content=text))
    return files


def pages() -> dict[str, str]:
    """Each page's text by its name."""
    document, metrics = _gateway()
    made = {
        "api": _api(document),
        "recipe": _recipe(),
        "commands": _commands(),
        "metrics": _metrics(metrics),
    }
    return {name: "\n".join(lines) + "\n" for name, lines in made.items()}


def _gateway() -> tuple[Schema, str]:
    """The OpenAPI document and the metrics of a gateway whose one model is a name."""
    from fastapi.testclient import TestClient

    from slipway.gateway.app import create_app
    from slipway.gateway.http.shutdown import Shutdown
    from slipway.gateway.models import Model, Models
    from slipway.gateway.settings import Settings

    queue, backend = SimpleNamespace(waiting=0, refused=0), SimpleNamespace(stats=None)
    model = cast(Model, SimpleNamespace(name="my-model", queue=queue, backend=backend))
    app = create_app(Models([model]), Settings(), Shutdown())
    return app.openapi(), TestClient(app).get("/metrics").text


def _api(document: Schema) -> Iterator[str]:
    yield "# API fields\n"
    yield "For people who write a client: every endpoint, and what engines do with its fields.\n"
    yield "- **yes**: the field is honored."
    yield "- **ignored**: accepted without an effect, and named in the header `x-slipway-ignored`."
    yield "- **no**: refused with a 400 that names the field; [why, and what to send instead](#refusals)."
    yield "- **partly**: honored within the bounds given there.\n"
    yield "The columns are engines of the targets `onnx-*`, `tensorrt-llm` and `tensorrt-llm-llmapi`."
    yield "A field that is not listed is refused."
    yield "A running gateway shows all this, with answers and examples, on its page `/docs`.\n"
    for path, operations in document["paths"].items():
        for verb, operation in operations.items():
            yield f"## {verb.upper()} {path}\n\n{operation['description']}\n"
            content = operation.get("requestBody", {}).get("content", {})
            if content:
                yield from _fields(
                    document["components"]["schemas"][_name(content["application/json"]["schema"])]
                )
    yield "## Refusals\n\nWhat some engines refuse, why, and what to send instead. Other fields for the"
    yield "format, such as `structured_outputs` and `text.format`, are refused like `response_format`.\n"
    yield "| engines | field | reason |\n|---|---|---|"
    for target in TARGETS.values():
        for field, reason in target.refuses.items():
            yield _row(f"`{target}`", f"`{field}`", reason)
        for field, reason in target.refuses_with_several_ends.items():
            yield _row(f"`{target}`, models with several end-of-sequence tokens", f"`{field}`", reason)
        for field, limit in target.limits.items():
            yield _row(f"`{target}`, values above {limit.highest}", f"`{field}`", limit.reason)
    yield ""
    yield from _errors()


def _fields(schema: Schema) -> Iterator[str]:
    required, fields = schema.get("required", ()), schema["properties"]
    yield "| field | type | ONNX | TensorRT-LLM | LLM API | what it does |\n|---|---|---|---|---|---|"
    for name, field in fields.items():
        text = field.get("description", "")
        here = "no" if text.startswith("Not offered") else "ignored" if text.startswith("Accepted") else "yes"
        onnx = "partly" if any(name in target.refuses for target in _ONNX) else here
        targets = [onnx, *(_honored(TARGETS[each], name, fields, here) for each in _COMPARED)]
        shown = f"`{name}`" + (" (required)" if name in required else "")
        yield _row(shown, _type(field), *targets, text)
    yield ""


def _honored(target: Target, name: str, fields: Schema, here: str) -> str:
    if name == "structured_outputs":
        name = "response_format"
    # Plain completions have one field for what chats have two.
    both = name == "logprobs" and "top_logprobs" not in fields and "top_logprobs" in target.refuses
    if name == "max_tokens":
        return "partly" if name in target.refuses and _takes_none(fields[name]) else here
    if name in target.refuses:
        return "partly" if name == "prompt" else "no"
    return "partly" if both or name in target.limits or name in target.refuses_with_several_ends else here


def _takes_none(field: Schema) -> bool:
    """Whether a number may be 0."""
    return any(each.get("minimum") == 0 for each in (field, *field.get("anyOf", ())))


def _errors() -> Iterator[str]:
    from slipway.gateway.errors import TABLE

    yield "## Errors\n\nEvery error has OpenAI's shape, or Anthropic's below `/v1/messages`.\n"
    yield "| status | type | code | when |\n|---|---|---|---|"
    for error, http in sorted(TABLE.items(), key=lambda item: item[1].status):
        yield _row(str(http.status), f"`{http.type}`", f"`{http.code}`" if http.code else "", _first(error))


def _recipe() -> Iterator[str]:
    document = Recipe.model_json_schema()
    yield "# Recipe keys\n"
    yield "For people who write a recipe, `engines/NAME.yaml`: every key, its type and its default.\n"
    yield "An unknown key, or a key that the target does not have, is an error that names its line."
    yield "Paths start from the folder in which the command runs.\n"
    yield "## Targets\n\n| target | runs on | quantization | KV cache | max_batch_size | memory_share |"
    yield "|---|---|---|---|---|---|"
    for target in TARGETS.values():
        where, weights, cache = _DEVICES[target.device], target.quantizations, target.cache_quantizations
        limits = str(target.max_batch_size), str(target.memory_share)
        yield _row(f"`{target}`", where, ", ".join(weights), ", ".join(cache), *limits)
    yield "\n## Keys\n\n| key | type | default | targets | what it is |\n|---|---|---|---|---|"
    yield from _keys(document, document.get("$defs", {}), "")


def _keys(schema: Schema, parts: Schema, prefix: str) -> Iterator[str]:
    for name, field in schema["properties"].items():
        part, key = parts.get(_name(field), {}), f"{prefix}{name}"
        if "properties" in part:
            yield from _keys(part, parts, f"{key}.")
            continue
        default = "required" if name in schema.get("required", ()) else _shown(field.get("default"))
        takes = [str(t) for t in TARGETS.values() if {key, key.partition(".")[0]} & set(t.recipe_keys)]
        yield _row(f"`{key}`", _type(field), default, ", ".join(takes) or "all", field.get("description", ""))


def _commands() -> Iterator[str]:
    from bench.__main__ import app as bench
    from bench.faults.__main__ import app as faults
    from build.__main__ import app as build
    from client.__main__ import app as client
    from slipway.__main__ import app as slipway

    yield "# Commands and options\n"
    yield "For people at a terminal: what every command says under `--help`.\n"
    yield "An option with a variable can be set by either; the option wins.\n"
    for name, app in {
        "slipway": slipway,
        "python -m build": build,
        "python -m client": client,
        "python -m bench": bench,
        "python -m bench.faults": faults,
    }.items():
        yield from _command(name, typer.main.get_command(app), depth=2)


def _command(name: str, command: Any, depth: int) -> Iterator[str]:
    yield f"{'#' * depth} {name}\n\n{command.help or ''}\n"
    context = typer.Context(command, info_name=name)
    options = [option for option in command.params if "--help" not in option.opts]
    records = [(option, option.get_help_record(context)) for option in options if not option.hidden]
    if records and not hasattr(command, "commands"):
        yield "| option | variable | default | what it does |\n|---|---|---|---|"
        for option, (shown, told) in records:
            text, _, extra = told.partition("  [")
            default = re.search(r"default: ([^;\]]+)", extra)
            value = "required" if option.required else default[1].strip("()") if default else ""
            variables = [option.envvar] if isinstance(option.envvar, str) else option.envvar or []
            yield _row(f"`{shown}`", ", ".join(f"`{each}`" for each in variables), value, text)
        yield ""
    for child, each in getattr(command, "commands", {}).items():
        yield from _command(f"{name} {child}", each, depth + 1)


def _metrics(text: str) -> Iterator[str]:
    yield "# Metrics\n"
    yield "For people who watch a server: what Prometheus reads at the gateway's `/metrics`.\n"
    yield "The figures of an engine (running, waiting, generated, draft tokens) are here for a local engine."
    yield "Engines behind Triton publish the same names on Triton's metrics port, 8002.\n"
    yield "| metric | type | what it counts |\n|---|---|---|"
    for name, told, kind in re.findall(r"# HELP (\S+) (.*)\n# TYPE \S+ (\S+)", text):
        yield _row(f"`{name}`", kind, told)


def _type(field: Schema) -> str:
    """A JSON schema's type in a few words."""
    kinds = field.get("anyOf") or field.get("oneOf")
    if kinds:
        return " or ".join(dict.fromkeys(_type(kind) for kind in kinds if kind.get("type") != "null"))
    if "enum" in field:
        return ", ".join(_shown(value) for value in field["enum"] if value is not None) or "null"
    if field.get("type") == "array":
        return f"list of {_type(field.get('items', {}))}"
    kind = str(field.get("format", field.get("type", "object" if "$ref" in field else "any")))
    least, most = field.get("minimum"), field.get("maximum")
    if least is not None and most is not None:
        return f"{kind}, {least} to {most}"
    signs = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<"}
    # Bounds of machine integers say nothing.
    bounds = [f" {signs[key]} {field[key]}" for key in signs if abs(field.get(key, 2**31)) < 2**31]
    return kind + "".join(bounds)


def _name(schema: Schema) -> str:
    return str(schema.get("$ref", "")).rpartition("/")[2]


def _shown(value: object) -> str:
    return "" if value in (None, [], ()) else f"`{json.dumps(value, ensure_ascii=False)}`"


def _first(documented: type) -> str:
    return (documented.__doc__ or "").partition("\n\n")[0]


def _row(*cells: str) -> str:
    return "| " + " | ".join(" ".join(cell.replace("|", r"\|").split()) for cell in cells) + " |"


if __name__ == "__main__":
    print(json.dumps(pages()))
