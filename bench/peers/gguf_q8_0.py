"""A GGUF file with its quantized weights in Q8_0; `make setup-peers` runs it on the sample's Q4_1.

    python -m bench.peers.gguf_q8_0 SOURCE TARGET

OpenVINO GenAI loses a fifth of perplexity by the way it reads the sample's Q4_1, in fp32 too; from 8 bits it
computes what the checkpoint does.
"""

import sys
from pathlib import Path

from gguf import GGMLQuantizationType, GGUFReader, GGUFValueType, GGUFWriter, LlamaFileType, quants

BY_THE_WRITER = "GGUF."
Q8_0 = GGMLQuantizationType.Q8_0


def convert(source: Path, target: Path) -> None:
    """Write `target`; tensors that are not quantized stay as they are."""
    model = GGUFReader(source)
    partial = target.with_suffix(".partial")
    writer = GGUFWriter(partial, model.fields["general.architecture"].contents())
    for name, field in model.fields.items():
        if name == "general.file_type":
            writer.add_file_type(LlamaFileType.MOSTLY_Q8_0)
        elif name != "general.architecture" and not name.startswith(BY_THE_WRITER):
            kind = field.types[0]
            of = field.types[-1] if kind == GGUFValueType.ARRAY else None
            writer.add_key_value(name, field.contents(), kind, of)
    for tensor in model.tensors:
        if tensor.tensor_type == GGMLQuantizationType.F32:
            writer.add_tensor(tensor.name, tensor.data)
        else:
            weights = quants.dequantize(tensor.data, tensor.tensor_type)
            writer.add_tensor(tensor.name, quants.quantize(weights, Q8_0), raw_dtype=Q8_0)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    partial.replace(target)


if __name__ == "__main__":
    convert(Path(sys.argv[1]), Path(sys.argv[2]))
