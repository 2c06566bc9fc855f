"""ONNX Runtime GenAI's `og.Generator` on one of our engines: a static batch, all rows end together."""

import json

import numpy as np
import onnxruntime_genai as og

from bench.peers import child


def load(threads: int, engine: str) -> child.Peer:
    """Load the engine folder `engine`."""
    config = og.Config(engine)
    config.overlay(json.dumps({"model": {"decoder": {"session_options": {"intra_op_num_threads": threads}}}}))
    model = og.Model(config)

    def generate(prompts: list[list[int]], max_tokens: int) -> list[int]:
        length = len(prompts[0]) + max_tokens
        params = og.GeneratorParams(model)
        # min_length keeps end-of-sequence from being chosen.
        params.set_search_options(
            do_sample=False, batch_size=len(prompts), min_length=length, max_length=length
        )
        generator = og.Generator(model, params)
        generator.append_tokens(np.array(prompts, dtype=np.int32))
        while not generator.is_done():
            generator.generate_next_token()
        return [len(generator.get_sequence(row)) - len(prompts[row]) for row in range(len(prompts))]

    return child.Peer(f"onnxruntime-genai {og.__version__}", generate)


if __name__ == "__main__":
    child.run(load)
