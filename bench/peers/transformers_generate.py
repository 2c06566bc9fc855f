"""`generate` of transformers on the checkpoint, in the precision it was saved in: what people start from."""

import torch
import transformers

from bench.peers import child


def load(threads: int, checkpoint: str) -> child.Peer:
    """Load the merged checkpoint folder `checkpoint`."""
    torch.set_num_threads(threads)
    transformers.logging.set_verbosity_error()
    model = transformers.AutoModelForCausalLM.from_pretrained(checkpoint).eval()

    @torch.inference_mode()
    def generate(prompts: list[list[int]], max_tokens: int) -> list[int]:
        ids = torch.tensor(prompts)
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

    precision = str(model.dtype).removeprefix("torch.")
    return child.Peer(f"transformers {transformers.__version__}, {precision}", generate)


if __name__ == "__main__":
    child.run(load)
