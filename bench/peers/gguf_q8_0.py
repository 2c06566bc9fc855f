"""A GGUF file with its quantized weights converted to Q8_0.

    python -m bench.peers.gguf_q8_0 SOURCE TARGET

OpenVINO GenAI loses a fifth of perplexity on the sample's Q4_1, in fp32 too. On a Q8_0 it computes what the
checkpoint computes.
"""

import sys
from pathlib import Path

from gguf import GGMLQuantizationType, GGUFReader, GGUFValueType, GGUFWriter, LlamaFileType, quants

BY_THE_WRITER = "GGUF."
Q8_0 = GGMLQuantizationType.Q8_0


def convert(source: Path, target: Path) -> None:
    """Write `target`; other tensors stay unchanged."""
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
