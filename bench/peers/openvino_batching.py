"""OpenVINO GenAI's continuous batching on a GGUF file as it is."""

import numpy as np
import openvino as ov
import openvino_genai

from bench.peers import child


def load(threads: int, gguf: str) -> child.Peer:
    """Load the GGUF file `gguf`; it is converted in memory."""
    scheduler = openvino_genai.SchedulerConfig()
    scheduler.enable_prefix_caching = False  # every prompt is new
    pipeline = openvino_genai.LLMPipeline(
        gguf, "CPU", scheduler_config=scheduler, INFERENCE_NUM_THREADS=threads
    )

    def generate(prompts: list[list[int]], max_tokens: int) -> list[int]:
        ids = np.array(prompts, dtype=np.int64)
        inputs = openvino_genai.TokenizedInputs(ov.Tensor(ids), ov.Tensor(np.ones_like(ids)))
        greedy = openvino_genai.GenerationConfig(max_new_tokens=max_tokens, ignore_eos=True, do_sample=False)
        return [len(answer) for answer in pipeline.generate(inputs, greedy).tokens]

    return child.Peer(f"openvino-genai {openvino_genai.__version__}", generate)


if __name__ == "__main__":
    child.run(load)
