"""What transformers answers with a checkpoint, always taking the likeliest token; asked by `gpu_check`."""

from collections.abc import Callable, Sequence
from pathlib import Path

from slipway.text.tokenizer import Tokenizer


def answers(
    directory: Path, prompts: Sequence[str], max_tokens: int, advance: Callable[[float], None]
) -> list[str]:
    """One answer for each prompt, in fp32 on the CPU, its special tokens left out.

    It holds the whole model in memory, 4 bytes a weight. advance: told 1 for each answer.
    """
    import torch  # here, because it takes seconds
    import transformers

    transformers.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    tokenizer = Tokenizer.load(directory)
    model = transformers.AutoModelForCausalLM.from_pretrained(
        directory, dtype=torch.float32, local_files_only=True
    )
    # Nothing else of generation_config.json: a repetition penalty in it is not what the engine is asked for.
    ends = model.generation_config.eos_token_id
    model.generation_config = transformers.GenerationConfig(eos_token_id=ends)
    made = []
    for prompt in prompts:
        ids = torch.tensor([tokenizer.encode(prompt)])
        with torch.no_grad():
            out = model.generate(
                ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=max_tokens
            )
        made.append(tokenizer.decode(out[0, ids.shape[1] :].tolist()))
        advance(1)
    return made
