"""OpenVINO GenAI's continuous batching on a GGUF file."""

from collections.abc import Iterator

import numpy as np
import openvino as ov
import openvino_genai

from bench.peers import child


def load(threads: int, gguf: str) -> child.Peer:
    """Load the GGUF file `gguf`; it is converted in memory."""
    scheduler = openvino_genai.SchedulerConfig()
    scheduler.enable_prefix_caching = False  # every prompt is new
    pipeline = openvino_genai.ContinuousBatchingPipeline(
        gguf, scheduler, "CPU", {"INFERENCE_NUM_THREADS": threads}
    )

    def generate(prompts: list[list[int]], max_tokens: int) -> list[int]:
        greedy = openvino_genai.GenerationConfig(max_new_tokens=max_tokens, ignore_eos=True, do_sample=False)
        answers = pipeline.generate([_tensor(prompt) for prompt in prompts], [greedy] * len(prompts))
        return [len(answer.m_generation_ids[0]) for answer in answers]

    def score(windows: list[list[int]]) -> Iterator[list[float]]:
        # With echo, an answer starts with its prompt; the first token has no log-probability.
        echo = openvino_genai.GenerationConfig(max_new_tokens=1, echo=True, logprobs=1, ignore_eos=True)
        for number, window in enumerate(windows):
            handle = pipeline.add_request(number, _tensor(window), echo)
            while pipeline.has_non_finished_requests():
                pipeline.step()
            yield handle.read_all()[0].generated_log_probs[1 : len(window)]

    return child.Peer(f"openvino-genai {openvino_genai.__version__}", generate, score)


def _tensor(token_ids: list[int]) -> ov.Tensor:
    return ov.Tensor(np.array([token_ids], dtype=np.int64))


if __name__ == "__main__":
    child.run(load)
