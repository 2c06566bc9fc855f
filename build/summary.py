"""A checkpoint on one screen, as `python -m build inspect` prints it."""

from collections import Counter

from rich.console import Console
from rich.table import Table
from rich.text import Text

from build.checkpoint.checkpoint import Checkpoint
from build.onnx import memory
from slipway.contract.quantization import Quantization


def show(checkpoint: Checkpoint, console: Console) -> None:
    """Print what the checkpoint is, how much memory it takes, and what is worth knowing about it."""
    console.print(f"[bold]{checkpoint.directory}[/bold]", highlight=False)
    console.print(_facts(checkpoint), _memory(checkpoint), sep="\n")
    for hint in checkpoint.hints():
        console.print(f"Note: {hint}", highlight=False, markup=False)


def _facts(checkpoint: Checkpoint) -> Table:
    model, tokenizer = checkpoint.architecture, checkpoint.tokenizer
    dtypes = Counter(tensor.dtype for tensor in checkpoint.weights.tensors.values())
    heads = f"{model.heads} heads of {model.head_dim}, {model.kv_heads} for keys and values"
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(style="cyan", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in (
        ("architecture", model.name),
        ("parameters", f"{checkpoint.parameters / 1e6:,.1f} million"),
        ("layers", f"{model.layers} of {model.hidden_size}, {heads}"),
        ("dtypes", ", ".join(f"{dtype} ({count} tensors)" for dtype, count in dtypes.most_common())),
        ("on disk", f"{_size(checkpoint.size)} in {_files(checkpoint)}"),
        ("context", f"{model.context:,} tokens"),
        ("rope", str(model.rope)),
        ("embeddings", f"{model.vocab_size:,} rows, {'tied to' if model.tied else 'apart from'} the output"),
        ("tokenizer", f"ids up to {tokenizer.largest_id:,}"),
        ("special tokens", ", ".join(f"{r} {text}" for r, text in tokenizer.special_tokens().items())),
        ("ends at", "\n".join(map(str, checkpoint.ends))),
        ("chat template", "yes" if tokenizer.chat_template else "no"),
    ):
        table.add_row(name, Text(value))
    return table


def _memory(checkpoint: Checkpoint) -> Table:
    model = checkpoint.architecture
    table = Table(title="memory of an engine", title_justify="left", title_style="bold")
    table.add_column("quantization", style="cyan")
    table.add_column("weights", justify="right")
    table.add_column("KV cache per token", justify="right")
    table.add_column(f"one sequence of {model.context:,}", justify="right")
    quantization: Quantization
    for quantization, item_size in (("none", 2), ("int8", 4), ("int4", 4)):
        weights = memory.weight_bytes(model, quantization)
        per_token = memory.kv_bytes_per_token(model, item_size)
        table.add_row(
            quantization, _size(weights), _size(per_token), _size(weights + per_token * model.context)
        )
    table.caption = "none: bf16 weights and KV cache; int8, int4: as onnx-cpu has them, fp32 KV cache"
    table.caption_justify = "left"
    return table


def _files(checkpoint: Checkpoint) -> str:
    count = len({tensor.file for tensor in checkpoint.weights.tensors.values()})
    return f"{count} file{'s' if count > 1 else ''}"


def _size(count: float) -> str:
    for unit in ("bytes", "kB", "MB"):
        if count < 1000:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:.1f} GB"
