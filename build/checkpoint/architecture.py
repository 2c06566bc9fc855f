"""The architecture that config.json describes, and the tensors that follow from it."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from build.checkpoint import json_file
from build.checkpoint.rope import Rope
from slipway.contract.errors import CheckpointError, RecipeError

FILE_NAME = "config.json"
SUPPORTED = ("LlamaForCausalLM", "MistralForCausalLM", "Qwen2ForCausalLM")
EMBEDDING = "model.embed_tokens.weight"
LM_HEAD = "lm_head.weight"
_SLIDING = "sliding_attention"  # in layer_types


class _Config(BaseModel):
    """The keys of config.json that decide the tensors; names and defaults are those of transformers."""

    model_config = ConfigDict(extra="ignore")

    hidden_size: int = Field(gt=0)
    intermediate_size: int = Field(gt=0)
    num_hidden_layers: int = Field(gt=0)
    num_attention_heads: int = Field(gt=0)
    num_key_value_heads: int | None = Field(None, gt=0)
    head_dim: int | None = Field(None, gt=0)
    vocab_size: int = Field(gt=0)
    max_position_embeddings: int = Field(gt=0)
    hidden_act: str = "silu"
    rms_norm_eps: float = Field(1e-6, gt=0)
    tie_word_embeddings: bool = False
    attention_bias: bool = False
    mlp_bias: bool = False
    sliding_window: int | None = None
    use_sliding_window: bool = False
    max_window_layers: int = 28
    layer_types: list[str] | None = None


@dataclass(frozen=True, slots=True)
class Architecture:
    """A decoder of the Llama family.

    name: the class in transformers. context: tokens the model can attend to, prompt and answer together.
    sliding_window: tokens that some layers attend to at most, or None. Engines attend to all tokens, which is
        the same up to the window, so the window bounds `context`.
    norm_epsilon: what the norms add to the mean square. tied: embedding and lm_head are one matrix.
    qkv_bias: on the q, k and v projections; output_bias: on the o projection; mlp_bias: on gate, up, down.
    """

    name: str
    hidden_size: int
    intermediate_size: int
    layers: int
    heads: int
    kv_heads: int
    head_dim: int
    vocab_size: int
    norm_epsilon: float
    context: int
    sliding_window: int | None
    tied: bool
    qkv_bias: bool
    output_bias: bool
    mlp_bias: bool
    rope: Rope

    @classmethod
    def find(cls, checkpoint: Path, config: Path | None) -> Self:
        """Read `config`, or else the config.json of the folder `checkpoint`; no other file is needed.

        Raises RecipeError when there is none, CheckpointError as `read` does.
        """
        path = config or checkpoint / FILE_NAME
        if config is None and not path.is_file():
            raise RecipeError(f"{path} is not there; give --config with the model's {FILE_NAME}.")
        return cls.read(path)

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read a config.json.

        Raises CheckpointError when it is missing, names no supported architecture, or describes a model that
        the engines would compute differently.
        """
        values = json_file.read(path)
        name = _supported_name(values, path)
        try:
            config = _Config.model_validate(values)
        except ValidationError as error:
            first = error.errors()[0]
            key = ".".join(str(part) for part in first["loc"])
            raise CheckpointError(
                f"{path} is wrong at {key} ({first['msg']}); take config.json from the base model."
            ) from None
        if config.hidden_act != "silu":
            raise CheckpointError(f"{path} has hidden_act {config.hidden_act!r}; only silu is supported.")
        window = (config.sliding_window or None) if _slides(name, config) else None
        llama_bias = name == "LlamaForCausalLM" and config.attention_bias
        return cls(
            name=name,
            hidden_size=config.hidden_size,
            intermediate_size=config.intermediate_size,
            layers=config.num_hidden_layers,
            heads=config.num_attention_heads,
            kv_heads=config.num_key_value_heads or config.num_attention_heads,
            head_dim=config.head_dim or config.hidden_size // config.num_attention_heads,
            vocab_size=config.vocab_size,
            norm_epsilon=config.rms_norm_eps,
            context=min(config.max_position_embeddings, window or config.max_position_embeddings),
            sliding_window=window,
            tied=config.tie_word_embeddings,
            qkv_bias=llama_bias or name == "Qwen2ForCausalLM",
            output_bias=llama_bias,
            mlp_bias=name == "LlamaForCausalLM" and config.mlp_bias,
            rope=Rope.parse(values, str(path)),
        )

    def tensors(self) -> dict[str, tuple[int, ...]]:
        """Shape of every tensor that transformers saves, by name.

        Projections are [out, in]. A model with tied embeddings has no lm_head.weight.
        """
        hidden, inner = self.hidden_size, self.intermediate_size
        query, key = self.heads * self.head_dim, self.kv_heads * self.head_dim
        shapes: dict[str, tuple[int, ...]] = {EMBEDDING: (self.vocab_size, hidden)}
        for layer in range(self.layers):
            prefix = f"model.layers.{layer}."
            for projection, rows, columns, bias in (
                ("self_attn.q_proj", query, hidden, self.qkv_bias),
                ("self_attn.k_proj", key, hidden, self.qkv_bias),
                ("self_attn.v_proj", key, hidden, self.qkv_bias),
                ("self_attn.o_proj", hidden, query, self.output_bias),
                ("mlp.gate_proj", inner, hidden, self.mlp_bias),
                ("mlp.up_proj", inner, hidden, self.mlp_bias),
                ("mlp.down_proj", hidden, inner, self.mlp_bias),
            ):
                shapes[f"{prefix}{projection}.weight"] = (rows, columns)
                if bias:
                    shapes[f"{prefix}{projection}.bias"] = (rows,)
            shapes[f"{prefix}input_layernorm.weight"] = (hidden,)
            shapes[f"{prefix}post_attention_layernorm.weight"] = (hidden,)
        shapes["model.norm.weight"] = (hidden,)
        if not self.tied:
            shapes[LM_HEAD] = (self.vocab_size, hidden)
        return shapes

    @property
    def embedding_weights(self) -> int:
        """Numbers in the embedding table."""
        return self.vocab_size * self.hidden_size

    @property
    def outer_layers(self) -> int:
        """Layers at each end that int4 leaves in 8 bits: a sixteenth of all, none in very small models."""
        return round(self.layers / 16)

    @property
    def projection_weights(self) -> int:
        """Numbers in all matrices that tokens are multiplied by: every projection, and the lm_head."""
        per_layer = self.hidden_size * (
            2 * (self.heads + self.kv_heads) * self.head_dim + 3 * self.intermediate_size
        )
        return self.layers * per_layer + self.embedding_weights


def _slides(name: str, config: _Config) -> bool:
    """Whether any layer attends to a window only, by the rules of each architecture in transformers."""
    if name == "MistralForCausalLM":
        return True
    if name != "Qwen2ForCausalLM" or not config.use_sliding_window:
        return False
    if config.layer_types is not None:
        return _SLIDING in config.layer_types
    return config.max_window_layers < config.num_hidden_layers  # the layers from that one on


def _supported_name(values: Mapping[str, Any], path: Path) -> str:
    names = values.get("architectures")
    name = names[0] if isinstance(names, list) and names else names
    if name not in SUPPORTED:
        raise CheckpointError(
            f"{path} names the architecture {name or '(none)'}; supported are {', '.join(SUPPORTED)}."
        )
    quantized = values.get("quantization_config")
    if quantized:  # null is what some tools leave when they dequantize a checkpoint
        method = quantized.get("quant_method", "unknown") if isinstance(quantized, dict) else quantized
        raise CheckpointError(
            f"{path} says that the weights are quantized already ({method}); give the unquantized "
            "checkpoint: the build quantizes it."
        )
    return str(name)
