from pathlib import Path

import numpy as np
from safetensors import safe_open

from bench import random_checkpoint

CONFIG = {
    "architectures": ["LlamaForCausalLM"],
    "vocab_size": 48,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "tie_word_embeddings": False,
}


def test_a_checkpoint_has_the_tensors_of_its_config_and_values_like_a_trained_models(tmp_path: Path):
    random_checkpoint.write(CONFIG, tmp_path)
    path = tmp_path / "model.safetensors"
    with safe_open(path, "numpy") as file:
        shapes = {key: file.get_slice(key).get_shape() for key in file.keys()}  # noqa: SIM118
    assert len(shapes) == 2 * 9 + 3
    assert shapes["model.layers.1.self_attn.k_proj.weight"] == [16, 32]
    assert shapes["lm_head.weight"] == [48, 32]
    weights = sum(int(np.prod(shape)) for shape in shapes.values())
    stored = np.frombuffer(path.read_bytes()[-2 * weights :], np.uint16)
    values = (stored.astype(np.uint32) << 16).view(np.float32)
    assert 0.015 < values.std() < 0.025
