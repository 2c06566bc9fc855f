"""The model of an engine for TensorRT-LLM's PyTorch backend: text to text.

It takes the tensors of NVIDIA's own llmapi model and runs the same `tensorrt_llm.LLM`. The engine gets and
gives token ids; the tokenizer is Slipway's, as for every other target.
"""

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import triton_python_backend_utils as pb_utils

from slipway.contract.errors import EngineFailed
from slipway.contract.manifest import Manifest, open_engine
from slipway.runtime.stats import EngineStats
from slipway.text.tokenizer import Tokenizer
from slipway.triton import engine_folder, llmapi_arguments
from slipway.triton.stages import stage
from slipway.triton.stages.gauges import Gauges
from slipway.triton.stages.llmapi_answer import TextAnswer
from slipway.triton.stages.llmapi_request import TextRequest, parse
from slipway.triton.stages.request import Array, wants_stop
from slipway.triton.stages.running_answers import RunningAnswers

# Variables that mpirun sets for each process. If mpirun started Triton, the workers of LLM, started by MPI
# too, would inherit them and take themselves for ranks of Triton's.
_MPIRUN_VARIABLE = re.compile(
    r"OMPI_(COMM_WORLD|UNIVERSE|FIRST|APP|MCA_orte)_|ORTE_|PMI_"
    r"|PMIX_(RANK|NAMESPACE|SERVER|SYSTEM|SECURITY|GDS|BFROPS|PTL)"
)


class TritonPythonModel:
    """A running `LLM`, and its answers on their way to Triton."""

    def initialize(self, args: Mapping[str, str]) -> None:
        """Load the engine; a refused one makes the model unavailable, with its sentence as the reason."""
        directory = engine_folder.of_stage(args)
        manifest = open_engine(directory)
        _prepare_environment(manifest)
        # After the environment is set: the import opens the GPUs that CUDA_VISIBLE_DEVICES names.
        from tensorrt_llm import LLM, SamplingParams

        written = Path(args["model_repository"]) / args["model_version"] / llmapi_arguments.FILE_NAME
        arguments = llmapi_arguments.read(written.read_text(encoding="utf-8"))
        arguments["model"] = str(directory)
        self._llm = LLM(**arguments, skip_tokenizer_init=True)
        self._sampling_params = SamplingParams
        self._manifest = manifest
        self._tokenizer = Tokenizer.load(directory)
        self._gauges = Gauges(manifest.name)
        self._running: dict[str, Any] = {}  # LLM's results by name; used in the loop only
        self._answers = RunningAnswers(self._cancel)

    def execute(self, requests: Sequence[Any]) -> None:
        """Submit the requests to the engine and return; the answers are sent as they come."""
        stage.accept_each(requests, self._accept)

    def finalize(self) -> None:
        """Cancel the running answers, whose clients get an end, and free the GPUs."""
        self._answers.finish(self._cancel_all())
        self._llm.shutdown()

    def _accept(self, tensors: Mapping[str, Array], request_id: str, sender: Any) -> None:
        if wants_stop(tensors):
            self._answers.stop(request_id)
            sender.send(flags=pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL)
            return
        asked = parse(tensors, self._tokenizer, self._manifest.limits)
        name = str(self._answers.arrival())
        self._answers.begin(name, request_id, sender, self._answer(name, asked, sender))

    async def _answer(self, name: str, asked: TextRequest, sender: Any) -> None:
        answer = TextAnswer(asked, self._tokenizer, self._manifest.eos_token_ids)
        try:
            # Streamed also for one response, so that a stop string ends the generation.
            result = self._llm.generate_async(asked.prompt_token_ids, self._sampling(asked), streaming=True)
            self._running[name] = result
            self._show()
            async for output in result:
                [completion] = output.outputs
                outputs = answer.add(completion.token_ids, completion.finish_reason, completion.stop_reason)
                if answer.finish_reason:
                    if not output.finished:
                        result.abort()
                    sender.send(
                        stage.response(**outputs), flags=pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL
                    )
                    return
                if outputs:
                    sender.send(stage.response(**outputs))
            raise EngineFailed("it ended the answer without a reason")
        except Exception as error:  # noqa: BLE001 - LLM's errors have no common class, and a client waits
            pb_utils.Logger.log_error(f"{self._manifest.name}: {error!r}")
            stage.refuse(sender, EngineFailed(f"TensorRT-LLM failed: {error}"))
        finally:
            self._running.pop(name, None)
            self._show()

    def _sampling(self, asked: TextRequest) -> Any:
        """With the end-of-sequence ids of the engine: LLM would take the one of a tokenizer."""
        end, *others = self._manifest.eos_token_ids
        others += asked.stop_token_ids
        return self._sampling_params(
            **asked.sampling, end_id=end, stop_token_ids=others or None, detokenize=False
        )

    def _cancel(self, name: str) -> None:
        if name in self._running:
            self._running[name].abort()

    async def _cancel_all(self) -> None:
        for result in self._running.values():
            result.abort()

    def _show(self) -> None:
        """All of them as running: LLM does not report which wait for a place in its batch."""
        slots = self._manifest.limits.max_batch_size
        self._gauges.show(EngineStats(running=len(self._running), waiting=0, slots=slots))


def _prepare_environment(manifest: Manifest) -> None:
    """Set it for LLM's workers, which inherit it, one for each GPU."""
    for name in [name for name in os.environ if _MPIRUN_VARIABLE.match(name)]:
        del os.environ[name]
    if manifest.parallel.gpus is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = ",".join(map(str, manifest.parallel.gpus))
