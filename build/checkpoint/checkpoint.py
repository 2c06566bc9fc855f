"""A merged Hugging Face checkpoint: opened lazily, checked against itself.

Read by `engine`, `convert` and `summary`.
"""

import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from build import progress
from build.checkpoint import architecture, json_file
from build.checkpoint.architecture import EMBEDDING, LM_HEAD, Architecture
from build.checkpoint.tokenizer_files import TokenizerFiles
from build.checkpoint.weights import Weights
from slipway.contract.errors import CheckpointError
from slipway.contract.manifest import FileDigest

ADAPTER = "adapter_config.json"
GENERATION = "generation_config.json"
# Buffers that older transformers saved although they follow from config.json.
_IGNORED = ("rotary_emb.inv_freq",)


@dataclass(frozen=True)
class Checkpoint:
    """A folder whose config.json, weights and tokenizer agree.

    eos_token_ids: every id that ends a sequence.
    """

    directory: Path
    architecture: Architecture
    weights: Weights
    tokenizer: TokenizerFiles
    eos_token_ids: tuple[int, ...]

    @classmethod
    def open(cls, directory: Path) -> Self:
        """Read all but the numbers, and check it.

        Raises CheckpointError, one sentence with what is wrong and how to mend it.
        """
        if not directory.is_dir():
            raise CheckpointError(f"{directory} is not a folder; {_where_to_look(directory)}.")
        if (directory / ADAPTER).is_file():
            raise CheckpointError(
                f"{directory} is a LoRA adapter ({ADAPTER}), not a whole model; put it into its base with "
                f"`python -m build merge BASE OUTPUT --adapter {directory}`, or name both in the recipe: "
                f"checkpoint is the base, and adapters is [{directory}]."
            )
        model = Architecture.read(directory)
        weights = Weights(directory)
        _check_tensors(model, weights)
        _check_tied(model, weights)
        tokenizer = TokenizerFiles.read(directory)
        _check_vocabulary(model, tokenizer, directory)
        return cls(directory, model, weights, tokenizer, _eos_token_ids(directory, model, tokenizer))

    def check_finite(self) -> Iterator[int]:
        """Read every number; yields the bytes read in each step.

        Raises CheckpointError at the first NaN or infinity.
        """
        for size, bad in self.weights.non_finite():
            if bad is not None:
                raise self.not_finite(bad)
            yield size

    def digests(self) -> dict[str, FileDigest]:
        """Size and SHA-256 of every file that an engine is made from, by name."""
        paths = {name: self.directory / name for name in self.sources}
        total = sum(path.stat().st_size for path in paths.values())
        found = {}
        with progress.step("Hashing the checkpoint", total, "bytes") as advance:
            for name, path in paths.items():
                found[name] = FileDigest.of(path)
                advance(found[name].size)
        return found

    def not_finite(self, name: str) -> CheckpointError:
        """What to raise when the tensor `name` holds NaN or infinity."""
        return CheckpointError(
            f"{self.directory / self.weights.tensors[name].file}: {name} holds NaN or infinity; the training "
            "diverged or the merge overflowed (fp16): go back to an earlier checkpoint, or merge in bfloat16."
        )

    @property
    def sources(self) -> tuple[str, ...]:
        """Names of the files an engine is made from."""
        configs = (architecture.FILE_NAME, GENERATION)
        present = [name for name in configs if (self.directory / name).is_file()]
        return (*present, *self.tokenizer.sources, *self.weights.files)

    @property
    def size(self) -> int:
        """Bytes of all tensors."""
        return sum(tensor.size for tensor in self.weights.tensors.values())

    @property
    def parameters(self) -> int:
        """Numbers in all tensors that count; a tied lm_head that was saved all the same does not."""
        return sum(math.prod(shape) for shape in self.architecture.tensors().values())

    def hints(self) -> list[str]:
        """What is no error but worth knowing, one sentence each."""
        found = []
        dtypes = Counter(tensor.dtype for tensor in self.weights.tensors.values())
        if dtypes["F32"] > len(self.weights.tensors) // 2:
            found.append(
                f"The weights are fp32 ({self.size / 1e9:.1f} GB); bf16 would do and halve disk and loading: "
                "model.to(torch.bfloat16).save_pretrained(…)."
            )
        if self.tokenizer.chat_template is None:
            found.append(
                "There is no chat template: the engine completes text but cannot chat, unless the recipe "
                "gives one (chat.template)."
            )
        if self.architecture.sliding_window is not None:
            found.append(
                f"The model attends over {self.architecture.sliding_window} tokens (sliding_window); engines "
                "do not slide, so this is the longest context."
            )
        return found


def _where_to_look(directory: Path) -> str:
    if directory.parts[:1] == ("~",):
        return "~ is replaced by a shell, not in a recipe: write the path out"
    if directory.is_symlink():
        return f"it is a link to {directory.readlink()}, which is not here; in a container, mount that too"
    return "a checkpoint is the folder that save_pretrained writes"


def _check_tensors(model: Architecture, weights: Weights) -> None:
    expected = model.tensors()
    config = weights.directory / architecture.FILE_NAME
    for name, shape in expected.items():
        tensor = weights.tensors.get(name)
        if tensor is None:
            mend = "save or copy the whole model again"
            if name == LM_HEAD:
                mend = (
                    "if the output layer shares the embedding, set tie_word_embeddings to true in config.json"
                )
            elif name == EMBEDDING and model.tied and LM_HEAD in weights.tensors:
                mend = (
                    f"it was saved as {LM_HEAD}, which shares it: load the model with transformers 5 and "
                    "save it again, AutoModelForCausalLM.from_pretrained(DIR).save_pretrained(DIR)"
                )
            elif wrapped := next((held for held in weights.tensors if held.endswith(f".{name}")), None):
                mend = (
                    f"it has {wrapped}, so it was saved with what training wrapped it in: save the model "
                    "inside, accelerator.unwrap_model(model).save_pretrained(DIR)"
                )
            raise CheckpointError(f"{weights.directory} has no tensor {name}; {mend}.")
        if tensor.shape != shape:
            mend = (
                "set vocab_size to the number of rows"
                if name in (EMBEDDING, LM_HEAD) and tensor.shape[1:] == shape[1:]
                else "config.json and weights are from different models: take both from one"
            )
            raise CheckpointError(
                f"{weights.directory / tensor.file}: {name} has shape {list(tensor.shape)}, but {config} "
                f"implies {list(shape)}; {mend}."
            )
    for name, tensor in weights.tensors.items():
        if name in expected or name.endswith(_IGNORED) or (name == LM_HEAD and model.tied):
            continue
        mend = (
            "save the adapter alone (PeftModel.save_pretrained) and give it as adapters in the recipe"
            if "lora_" in name or "base_layer" in name
            else f"check num_hidden_layers and the architecture in {architecture.FILE_NAME}"
        )
        raise CheckpointError(
            f"{weights.directory / tensor.file} holds {name}, which a {model.name} of {config} does not "
            f"have; {mend}."
        )


def _check_tied(model: Architecture, weights: Weights) -> None:
    """A tied lm_head that was saved all the same must be the embedding: transformers 5 takes it if it is not.

    So a model whose lm_head alone was trained, and whose config.json was left as it was, is told from a copy.
    """
    if not model.tied or LM_HEAD not in weights.tensors:
        return
    tensors = weights.tensors[EMBEDDING], weights.tensors[LM_HEAD]
    alike = len({(tensor.shape, tensor.dtype) for tensor in tensors}) == 1
    pieces = zip(weights.pieces(EMBEDDING), weights.pieces(LM_HEAD), strict=False)
    if not alike or any(one.tobytes() != other.tobytes() for (_, one), (_, other) in pieces):
        raise CheckpointError(
            f"{weights.directory / tensors[1].file}: {LM_HEAD} is not the embedding, but "
            f"{architecture.FILE_NAME} says that they are one; set tie_word_embeddings to false if the "
            f"output layer was trained by itself, or take {LM_HEAD} out of the weights if it is a leftover."
        )


def _check_vocabulary(model: Architecture, tokenizer: TokenizerFiles, directory: Path) -> None:
    if tokenizer.largest_id >= model.vocab_size:
        raise CheckpointError(
            f"The tokenizer in {directory} has ids up to {tokenizer.largest_id} "
            f"({tokenizer.largest_token!r}), but the embedding has {model.vocab_size} rows; take the "
            "tokenizer that the model was trained with, or model.resize_token_embeddings(len(tokenizer)) and "
            "save both again."
        )


def _eos_token_ids(directory: Path, model: Architecture, tokenizer: TokenizerFiles) -> tuple[int, ...]:
    """Those of generation_config.json, else of config.json, and the tokenizer's own end of sequence.

    The last is what a chat model ends its turn with; a fine-tune whose generation_config.json still has the
    base model's id would never stop.
    """
    ids: list[int] = []
    for name in (GENERATION, architecture.FILE_NAME):
        path = directory / name
        value: Any = json_file.read(path).get("eos_token_id") if path.is_file() else None
        if value is not None:
            ids = list(value) if isinstance(value, list) else [value]
            break
    if tokenizer.eos_token_id is not None:
        ids.append(tokenizer.eos_token_id)
    if not ids:
        raise CheckpointError(
            f"{directory} names no end of sequence (eos_token_id in {GENERATION} or config.json, eos_token "
            "in tokenizer_config.json), so answers would never end; add the one the model was trained with."
        )
    for token in ids:
        if not isinstance(token, int) or not 0 <= token < model.vocab_size:
            raise CheckpointError(
                f"{directory}: eos_token_id {token!r} is not one of the model's {model.vocab_size} tokens; "
                f"correct it in {GENERATION} or config.json."
            )
    return tuple(dict.fromkeys(ids))
