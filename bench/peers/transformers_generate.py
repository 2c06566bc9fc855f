"""transformers on the checkpoint: a peer and, in fp32, the reference for quality."""

from collections.abc import Iterator

import torch
import transformers

from bench.peers import child


def load(threads: int, checkpoint: str, precision: str = "auto") -> child.Peer:
    """Load the merged checkpoint folder `checkpoint`; `auto` is the precision of its files."""
    torch.set_num_threads(threads)
    transformers.logging.set_verbosity_error()
    model = transformers.AutoModelForCausalLM.from_pretrained(checkpoint, dtype=precision).eval()

    def generate(prompts: list[list[int]], max_tokens: int) -> list[int]:
        ids = torch.tensor(prompts)
        with torch.inference_mode():
            # min_new_tokens keeps end-of-sequence from being chosen.
            answers = model.generate(
                ids,
                attention_mask=torch.ones_like(ids),
                do_sample=False,
                min_new_tokens=max_tokens,
                max_new_tokens=max_tokens,
                pad_token_id=0,
            )
        return [len(answer) - ids.shape[1] for answer in answers]

    def score(windows: list[list[int]]) -> Iterator[list[float]]:
        for window in windows:
            ids = torch.tensor(window)
            with torch.inference_mode():
                log_probs = model(ids[None]).logits[0, :-1].float().log_softmax(-1)
            yield log_probs.gather(-1, ids[1:, None])[:, 0].tolist()

    computed = str(model.dtype).removeprefix("torch.")
    return child.Peer(f"transformers {transformers.__version__}, {computed}", generate, score)


if __name__ == "__main__":
    child.run(load)
