"""A merged Hugging Face checkpoint: opened lazily, its files checked against each other."""

import math
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np

from build import progress
from build.checkpoint import architecture
from build.checkpoint.architecture import EMBEDDING, LM_HEAD, Architecture
from build.checkpoint.ends import GENERATION, End, find_ends
from build.checkpoint.tokenizer_files import TokenizerFiles
from build.checkpoint.turn_end import turn_end
from build.checkpoint.weights import INDEX, SINGLE, Weights
from slipway.contract.errors import CheckpointError
from slipway.contract.manifest import FileDigest

ADAPTER = "adapter_config.json"
# Files that an adapter alone does not have.
_WHOLE = (SINGLE, INDEX)
# Buffers that older transformers saved although they follow from config.json.
_IGNORED = ("rotary_emb.inv_freq",)


@dataclass(frozen=True)
class Checkpoint:
    """A folder whose config.json, weights and tokenizer agree.

    ends: every token that ends a sequence, by these files.
    """

    directory: Path
    architecture: Architecture
    weights: Weights
    tokenizer: TokenizerFiles
    ends: tuple[End, ...]

    @classmethod
    def open(cls, directory: Path) -> Self:
        """Read everything but the numbers, and check it.

        Raises CheckpointError, one sentence that says what is wrong and what to do.
        """
        if not directory.is_dir():
            raise CheckpointError(f"{directory} is not a folder; {_where_to_look(directory)}.")
        if (directory / ADAPTER).is_file() and not any((directory / name).is_file() for name in _WHOLE):
            raise CheckpointError(
                f"{directory} is a LoRA adapter ({ADAPTER}), not a whole model; put it into its base with "
                f"`python -m build merge BASE OUTPUT --adapter {directory}`, or name both in the recipe: "
                f"checkpoint is the base, and adapters is [{directory}]."
            )
        model = Architecture.read(directory / architecture.FILE_NAME)
        weights = Weights(directory)
        _check_tensors(model, weights)
        _check_tied(model, weights)
        tokenizer = TokenizerFiles.read(directory)
        _check_vocabulary(model, tokenizer, directory)
        templates = (tokenizer.chat_template, tokenizer.tool_template)
        ends = find_ends(directory, model.vocab_size, tokenizer, templates)
        return cls(directory, model, weights, tokenizer, ends)

    def check_finite(self) -> None:
        """Read every number, with a progress bar. Raises CheckpointError at the first NaN or infinity."""
        with progress.step("Checking for NaN and Inf", self.size, "bytes") as advance:
            for name in self.weights.tensors:
                for _, piece in self.weights.pieces(name):
                    if not np.isfinite(piece).all():
                        raise self.not_finite(name)
                    advance(piece.nbytes)

    def digests(self) -> dict[str, FileDigest]:
        """Size and SHA-256 of every file that decides the engine, by name."""
        paths = {name: self.directory / name for name in self.sources}
        total = sum(path.stat().st_size for path in paths.values())
        found = {}
        with progress.step("Hashing the checkpoint", total, "bytes") as advance:
            for name, path in paths.items():
                found[name] = FileDigest.of(path)
                advance(found[name].size)
        return found

    def not_finite(self, name: str) -> CheckpointError:
        """The error for a tensor `name` that holds NaN or infinity."""
        return CheckpointError(
            f"{self.directory / self.weights.tensors[name].file}: {name} holds NaN or infinity; the training "
            "diverged or the merge overflowed (fp16): go back to an earlier checkpoint, or merge in bfloat16."
        )

    @property
    def eos_token_ids(self) -> tuple[int, ...]:
        """The id of each end."""
        return tuple(end.token_id for end in self.ends)

    @property
    def sources(self) -> tuple[str, ...]:
        """Names of the files that decide the engine."""
        configs = (architecture.FILE_NAME, GENERATION)
        present = [name for name in configs if (self.directory / name).is_file()]
        return (*present, *self.tokenizer.sources, *self.weights.files)

    @property
    def size(self) -> int:
        """Bytes of all tensors."""
        return sum(tensor.size for tensor in self.weights.tensors.values())

    @property
    def parameters(self) -> int:
        """Numbers in all tensors, without a tied lm_head that was saved."""
        return sum(math.prod(shape) for shape in self.architecture.tensors().values())

    def hints(self) -> list[str]:
        """What is worth knowing but no error, one sentence each."""
        found = []
        dtypes = Counter(tensor.dtype for tensor in self.weights.tensors.values())
        if dtypes["F32"] > len(self.weights.tensors) // 2:
            found.append(
                f"The weights are fp32 ({self.size / 1e9:.1f} GB); bf16 is enough, and half as large and as "
                "long to load: model.to(torch.bfloat16).save_pretrained(…)."
            )
        if (self.directory / ADAPTER).is_file():
            found.append(
                f"{ADAPTER} lies beside whole weights and is not used; if they are only the base, name the "
                "adapter's folder as adapters in the recipe."
            )
        template = self.tokenizer.chat_template
        if template is None:
            found.append(
                "There is no chat template: the engine completes text but cannot chat, unless the recipe "
                "gives one (chat.template)."
            )
        elif (end := turn_end(template, self.tokenizer.tokenizer)) is not None and end.token_id is None:
            found.append(
                f"The chat template ends a turn with {end.text}, which the tokenizer does not have as a "
                "token; if answers run on, give it as chat.stop in the recipe."
            )
        if self.architecture.sliding_window is not None:
            found.append(
                f"The model attends to {self.architecture.sliding_window} tokens (sliding_window); engines "
                "have no sliding window, so this is the longest context."
            )
        return found


def _where_to_look(directory: Path) -> str:
    if directory.parts[:1] == ("~",):
        return "a shell replaces ~, a recipe does not: write the whole path"
    if directory.is_symlink():
        return f"it is a link to {directory.readlink()}, which is not here; in a container, mount that too"
    return "a checkpoint is the folder that save_pretrained writes"


def _check_tensors(model: Architecture, weights: Weights) -> None:
    expected = model.tensors()
    config = weights.directory / architecture.FILE_NAME
    for name, shape in expected.items():
        tensor = weights.tensors.get(name)
        if tensor is None:
            remedy = "save or copy the whole model again"
            if name == LM_HEAD:
                remedy = (
                    "if the output layer shares the embedding, set tie_word_embeddings to true in config.json"
                )
            elif name == EMBEDDING and model.tied and LM_HEAD in weights.tensors:
                remedy = (
                    f"it was saved as {LM_HEAD}, which is the same matrix: load the model with transformers "
                    "5 and save it again, AutoModelForCausalLM.from_pretrained(DIR).save_pretrained(DIR)"
                )
            elif wrapped := next((held for held in weights.tensors if held.endswith(f".{name}")), None):
                remedy = (
                    f"it has {wrapped}, so the model was saved inside a wrapper of the training: save it "
                    "without, accelerator.unwrap_model(model).save_pretrained(DIR)"
                )
            raise CheckpointError(f"{weights.directory} has no tensor {name}; {remedy}.")
        if tensor.shape != shape:
            remedy = (
                "set vocab_size to the number of rows"
                if name in (EMBEDDING, LM_HEAD) and tensor.shape[1:] == shape[1:]
                else "config.json and weights are from different models: take both from one"
            )
            raise CheckpointError(
                f"{weights.directory / tensor.file}: {name} has shape {list(tensor.shape)}, but {config} "
                f"implies {list(shape)}; {remedy}."
            )
    for name, tensor in weights.tensors.items():
        if name in expected or name.endswith(_IGNORED) or (name == LM_HEAD and model.tied):
            continue
        remedy = (
            "save the adapter alone (PeftModel.save_pretrained) and give it as adapters in the recipe"
            if "lora_" in name or "base_layer" in name
            else f"check num_hidden_layers and the architecture in {architecture.FILE_NAME}"
        )
        raise CheckpointError(
            f"{weights.directory / tensor.file} holds {name}, which a {model.name} of {config} does not "
            f"have; {remedy}."
        )


def _check_tied(model: Architecture, weights: Weights) -> None:
    """A tied lm_head that was saved must equal the embedding.

    Where it differs, only the lm_head was trained and config.json was not changed; transformers 5 then uses
    the lm_head.
    """
    if not model.tied or LM_HEAD not in weights.tensors:
        return
    tensors = weights.tensors[EMBEDDING], weights.tensors[LM_HEAD]
    alike = len({(tensor.shape, tensor.dtype) for tensor in tensors}) == 1
    pieces = zip(weights.pieces(EMBEDDING), weights.pieces(LM_HEAD), strict=False)
    if not alike or any(one.tobytes() != other.tobytes() for (_, one), (_, other) in pieces):
        raise CheckpointError(
            f"{weights.directory / tensors[1].file}: {LM_HEAD} is not the embedding, but "
            f"{architecture.FILE_NAME} says that both are one matrix; set tie_word_embeddings to false if "
            f"the output layer was trained by itself, or remove {LM_HEAD} from the weights if not."
        )


def _check_vocabulary(model: Architecture, tokenizer: TokenizerFiles, directory: Path) -> None:
    if tokenizer.largest_id >= model.vocab_size:
        raise CheckpointError(
            f"The tokenizer in {directory} has ids up to {tokenizer.largest_id} "
            f"({tokenizer.largest_token!r}), but the embedding has {model.vocab_size} rows; take the "
            "tokenizer that the model was trained with, or model.resize_token_embeddings(len(tokenizer)) and "
            "save both again."
        )
