"""Writes the golden vectors of tests/worker/engine: what `transformers` computes in f32.

    python tests/golden/make_golden.py tiny [NAME...]     tests/golden/tiny/*.json
    python tests/golden/make_golden.py smollm2 FOLDER     tests/golden/smollm2.json
    python tests/golden/make_golden.py bf16 [FOLDER]      adds "bf16" to the above (FOLDER: SmolLM2's)
    python tests/golden/make_golden.py bf16 NAME...       the same for some of tiny

tiny: one small checkpoint for each corner of the architecture table. Its weights come from the
formula of worker/model/source.h, so no weights are committed: the C test builds the same ones from
the config alone. smollm2: the folder that deploy/local/convert_smollm2.py writes.

"context": what the engine is limited to. "reference": what transformers' config has in place of ours; where a
sequence crosses original_max_position_embeddings we hold to one list of factors (docs/decisions/0020), it does not.

A file holds greedy tokens with the margin between the two best logits at each, and logits at the
prompt's end. The margins stay above MARGIN_MIN, which is twice the bound on the logits: so another
order of summation cannot change a token, and a changed token is an error.

"bf16" is what transformers' own bf16 run, fed the same tokens, is off by: the root of the mean square at
those logits, the largest at the two best wherever a token is chosen. It bounds tests/gpu/models.c.

Made with torch==2.6.0 (bf16: 2.15.0) transformers==5.23.0 safetensors==0.8.0 tokenizers==0.23.3 numpy==2.4.6.
"""
import json
import os
import re
import sys

import numpy as np
import torch
import transformers

MARGIN_MIN = 2e-3
HERE = os.path.dirname(os.path.abspath(__file__))
MASK = (1 << 64) - 1
GOLDEN = 0x9E3779B97F4A7C15

BASE = {"hidden_act": "silu", "max_position_embeddings": 256, "rms_norm_eps": 1e-5, "vocab_size": 319,
        "tie_word_embeddings": False, "rope_theta": 10000.0}
LLAMA3 = {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
          "original_max_position_embeddings": 32}


def longrope(pairs, short=True):
    long = [1.0 + 0.5 * i for i in range(pairs)]
    return {"type": "longrope", "long_factor": long,
            "short_factor": [1.0 + 0.03 * i for i in range(pairs)] if short else long}


# Name, seed, class, and what differs from BASE. Together: groups 1 2 3 4 7 8, heads of 64 and 128.
TINY = [
    ("llama_g1_d64_tied", 1, "LlamaForCausalLM",
     dict(hidden_size=128, num_attention_heads=2, intermediate_size=136, num_hidden_layers=3,
          tie_word_embeddings=True)),
    ("llama_g3_d64_biases", 2, "LlamaForCausalLM",
     dict(hidden_size=192, num_attention_heads=3, num_key_value_heads=1, intermediate_size=200,
          num_hidden_layers=2, attention_bias=True, mlp_bias=True)),
    ("llama_g4_d128_llama3", 3, "LlamaForCausalLM",
     dict(hidden_size=88, head_dim=128, num_attention_heads=4, num_key_value_heads=1,
          intermediate_size=104, num_hidden_layers=2, rope_theta=500000.0, rope_scaling=LLAMA3)),
    ("llama_g1_d128_linear", 4, "LlamaForCausalLM",
     dict(hidden_size=72, head_dim=128, num_attention_heads=1, intermediate_size=96,
          num_hidden_layers=2, rope_scaling={"rope_type": "linear", "factor": 4.0})),
    ("mistral_g4_d64_window", 5, "MistralForCausalLM",
     dict(hidden_size=96, head_dim=64, num_attention_heads=8, num_key_value_heads=2,
          intermediate_size=152, num_hidden_layers=3, sliding_window=8)),
    ("mistral_g8_d64_full", 6, "MistralForCausalLM",
     dict(hidden_size=96, head_dim=64, num_attention_heads=8, num_key_value_heads=1,
          intermediate_size=168, num_hidden_layers=2, sliding_window=None, rope_theta=None,
          rope_parameters={"rope_type": "default", "rope_theta": 1000000.0})),
    ("qwen2_g7_d64_tied", 7, "Qwen2ForCausalLM",
     dict(hidden_size=448, num_attention_heads=7, num_key_value_heads=1, intermediate_size=184,
          num_hidden_layers=2, tie_word_embeddings=True, use_sliding_window=False,
          sliding_window=64)),
    ("qwen2_g4_d128_window", 8, "Qwen2ForCausalLM",
     dict(hidden_size=512, num_attention_heads=4, num_key_value_heads=1, intermediate_size=120,
          num_hidden_layers=3, use_sliding_window=True, sliding_window=6, max_window_layers=1)),
    ("qwen3_g8_d128_tied", 9, "Qwen3ForCausalLM",
     dict(hidden_size=104, head_dim=128, num_attention_heads=8, num_key_value_heads=1,
          intermediate_size=152, num_hidden_layers=2, tie_word_embeddings=True)),
    ("qwen3_g2_d64_biases", 10, "Qwen3ForCausalLM",
     dict(hidden_size=80, head_dim=64, num_attention_heads=4, num_key_value_heads=2,
          intermediate_size=112, num_hidden_layers=2, attention_bias=True)),
    ("llama_g2_d64_yarn", 11, "LlamaForCausalLM",
     dict(hidden_size=96, head_dim=64, num_attention_heads=4, num_key_value_heads=2, intermediate_size=120,
          num_hidden_layers=2, rope_scaling={"rope_type": "yarn", "factor": 8.0,
                                             "original_max_position_embeddings": 32})),
    ("qwen3_g2_d128_yarn", 12, "Qwen3ForCausalLM",
     dict(hidden_size=80, head_dim=128, num_attention_heads=2, num_key_value_heads=1, intermediate_size=104,
          num_hidden_layers=2, rope_theta=None,
          rope_parameters={"rope_type": "yarn", "rope_theta": 50000.0, "factor": 4.0, "attention_factor": 1.1,
                           "beta_fast": 16.0, "beta_slow": 2.0, "original_max_position_embeddings": 64})),
    ("llama_g1_d64_dynamic", 13, "LlamaForCausalLM",
     dict(hidden_size=72, head_dim=64, num_attention_heads=2, intermediate_size=96, num_hidden_layers=2,
          rope_scaling={"rope_type": "dynamic", "factor": 4.0})),
    ("mixtral_g4_d64", 14, "MixtralForCausalLM",
     dict(hidden_size=96, head_dim=64, num_attention_heads=4, num_key_value_heads=1, intermediate_size=56,
          num_hidden_layers=2, num_local_experts=6, num_experts_per_tok=2, sliding_window=None)),
    ("qwen2moe_g2_d64_shared", 15, "Qwen2MoeForCausalLM",
     dict(hidden_size=128, num_attention_heads=2, num_key_value_heads=1, intermediate_size=200,
          moe_intermediate_size=40, shared_expert_intermediate_size=72, num_hidden_layers=2, num_experts=8,
          num_experts_per_tok=3, norm_topk_prob=False, decoder_sparse_step=1)),
    ("qwen3moe_g4_d128", 16, "Qwen3MoeForCausalLM",
     dict(hidden_size=88, head_dim=128, num_attention_heads=4, num_key_value_heads=1, intermediate_size=200,
          moe_intermediate_size=48, num_hidden_layers=3, num_experts=16, num_experts_per_tok=4,
          norm_topk_prob=True, decoder_sparse_step=1, mlp_only_layers=[])),
    ("smollm3_g4_d64_nope", 17, "SmolLM3ForCausalLM",
     dict(hidden_size=256, num_attention_heads=4, num_key_value_heads=1, intermediate_size=144, num_hidden_layers=5,
          no_rope_layer_interval=2, tie_word_embeddings=True, pad_token_id=0)),
    ("olmo2_g2_d64", 18, "Olmo2ForCausalLM",
     dict(hidden_size=256, num_attention_heads=4, num_key_value_heads=2, intermediate_size=168, num_hidden_layers=3)),
    ("qwen2moe_g2_d64_dense", 19, "Qwen2MoeForCausalLM",
     dict(hidden_size=96, head_dim=64, num_attention_heads=4, num_key_value_heads=2, intermediate_size=152,
          moe_intermediate_size=40, shared_expert_intermediate_size=56, num_hidden_layers=4, num_experts=6,
          num_experts_per_tok=2, norm_topk_prob=True, decoder_sparse_step=2, mlp_only_layers=[3])),
    ("qwen3moe_g2_d64_dense", 20, "Qwen3MoeForCausalLM",
     dict(hidden_size=88, head_dim=64, num_attention_heads=4, num_key_value_heads=2, intermediate_size=136,
          moe_intermediate_size=48, num_hidden_layers=3, num_experts=8, num_experts_per_tok=3, norm_topk_prob=False,
          decoder_sparse_step=1, mlp_only_layers=[0])),
    ("phi3_g2_d96_window", 21, "Phi3ForCausalLM",
     dict(hidden_size=384, num_attention_heads=4, num_key_value_heads=2, intermediate_size=136, num_hidden_layers=3,
          sliding_window=8, pad_token_id=0)),
    ("phi3_g2_d64_longrope", 22, "Phi3ForCausalLM",
     dict(hidden_size=256, num_attention_heads=4, num_key_value_heads=2, intermediate_size=136, num_hidden_layers=2,
          sliding_window=None, pad_token_id=0, original_max_position_embeddings=4, rope_scaling=longrope(32))),
    ("phi3_g3_d128_partial", 23, "Phi3ForCausalLM",
     dict(hidden_size=384, num_attention_heads=3, num_key_value_heads=1, intermediate_size=152, num_hidden_layers=3,
          sliding_window=200, pad_token_id=0, tie_word_embeddings=True, partial_rotary_factor=0.75,
          original_max_position_embeddings=128, rope_scaling=longrope(48), context=128)),
    ("phi3_g2_d64_crossing", 24, "Phi3ForCausalLM",
     dict(hidden_size=256, num_attention_heads=4, num_key_value_heads=2, intermediate_size=120, num_hidden_layers=2,
          sliding_window=None, pad_token_id=0, partial_rotary_factor=0.5, original_max_position_embeddings=32,
          rope_scaling=longrope(16), reference=dict(rope_scaling=longrope(16, short=False)))),
    ("granite_g4_d64_multipliers", 25, "GraniteForCausalLM",
     dict(hidden_size=256, num_attention_heads=4, num_key_value_heads=1, intermediate_size=168, num_hidden_layers=3,
          attention_bias=True, mlp_bias=True, tie_word_embeddings=True, embedding_multiplier=1.5,
          residual_multiplier=2.6, attention_multiplier=0.0625, logits_scaling=3.0)),
    ("granite_g2_d128", 26, "GraniteForCausalLM",
     dict(hidden_size=96, head_dim=128, num_attention_heads=4, num_key_value_heads=2, intermediate_size=104,
          num_hidden_layers=2, rms_norm_eps=0.01, embedding_multiplier=2.0, residual_multiplier=0.22,
          attention_multiplier=0.11)),
]
# Newer versions of the package keep all experts in one tensor; the files, and the formula, do not.
EXPERTS = {"MixtralForCausalLM": ("block_sparse_moe.experts.%d.%s.weight", ("w1", "w3", "w2"), "block_sparse_moe.gate"),
           "Qwen2MoeForCausalLM": ("mlp.experts.%d.%s.weight", ("gate_proj", "up_proj", "down_proj"), "mlp.gate"),
           "Qwen3MoeForCausalLM": ("mlp.experts.%d.%s.weight", ("gate_proj", "up_proj", "down_proj"), "mlp.gate")}
PROMPTS = [
    "The capital of France is", "Once upon a time, in a small village by the sea,",
    "def fibonacci(n):\n    \"\"\"Return the n-th Fibonacci number.\"\"\"\n", "1, 2, 3, 5, 8, 13,",
    "Water boils at 100 degrees Celsius because", "The three primary colours are",
    "<|im_start|>user\nWhat is the largest planet of the solar system?<|im_end|>\n<|im_start|>assistant\n",
    "<|im_start|>user\nWrite a short poem about rain.<|im_end|>\n<|im_start|>assistant\n",
    "La révolution française a commencé en", "Die Hauptstadt von Österreich ist",
    "SELECT name, COUNT(*) FROM orders GROUP BY", "{\"name\": \"Ada\", \"born\": 1815, \"field\":",
    "In 1969, the first human being walked on the",
    "Dear Sir or Madam,\n\nI am writing to you because",
    "Photosynthesis is the process by which plants",
    "The quick brown fox jumps over the lazy dog. " * 12 + "The quick",
    "The speed of light is about", "My favourite recipe for pancakes:\n1.",
    "#include <stdio.h>\n\nint main(void)\n{\n", "The mitochondria is the", "To be, or not to be,",
    "<|im_start|>user\nName three fruits.<|im_end|>\n<|im_start|>assistant\n",
    "<|im_start|>system\nYou answer in one word.<|im_end|>\n<|im_start|>user\nIs the sky blue?<|im_end|>\n"
    "<|im_start|>assistant\n",
    "The first president of the United States was", "A triangle has three sides and a square has",
    "The Pacific Ocean is the largest", "<html>\n<head>\n<title>", "日本の首都は", "Столица России —",
    "Gravity is a force that", "Monday, Tuesday, Wednesday,",
]


def mix(z):
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


def draws(seed, count):
    """Outputs 0..count-1 of splitmix64 from this seed."""
    return mix(np.uint64(seed) + np.arange(1, count + 1, dtype=np.uint64) * np.uint64(GOLDEN))


def formula(name, shape, dummy_seed):
    """The tensor that worker/model/source.c makes of this name."""
    seed = 0xCBF29CE484222325
    for byte in name.encode():
        seed = (seed ^ byte) * 0x100000001B3 & MASK
    seed ^= dummy_seed * GOLDEN & MASK
    count = int(np.prod(shape))
    u = (draws(seed, count) >> np.uint64(40)).astype(np.float32) * np.float32(2.0**-23) - np.float32(1)
    scale, shift = np.sqrt(np.float32(3) / np.float32(shape[-1])), np.float32(0)
    if name.endswith("norm.weight"):
        scale, shift = np.float32(0.25), np.float32(1)
    elif name.endswith(".bias"):
        scale = np.float32(0.25)
    bits = (shift + u * scale).view(np.uint32)
    bits = (bits + np.uint32(0x7FFF) + (bits >> np.uint32(16) & np.uint32(1))) & np.uint32(0xFFFF0000)
    return torch.from_numpy(bits.view(np.float32).reshape(shape).copy())


def greedy(model, ids, count):
    """(tokens, margins, logits at the prompt's end), one token a step over the cache."""
    tokens, margins, first, past = [], [], None, None
    step = torch.tensor([ids])
    with torch.no_grad():
        for _ in range(count):
            out = model(step, past_key_values=past, use_cache=True)
            past, logits = out.past_key_values, out.logits[0, -1].float()
            first = logits if first is None else first
            best = torch.topk(logits, 2)
            tokens.append(int(best.indices[0]))
            margins.append(float(best.values[0] - best.values[1]))
            step = torch.tensor([[tokens[-1]]])
    return tokens, margins, first


def short(values, digits=6):
    return [float(f"{float(v):.{digits}f}") for v in values]


def write(path, data):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w", encoding="utf-8") as file:
        text = json.dumps(data, ensure_ascii=False, indent=1)
        # Lists of numbers on one line each: the file stays readable and small.
        text = re.sub(r"\[\s*((?:-?[\d.e+-]+,?\s*)+)\]", lambda m: "[" + " ".join(m[1].split()) + "]", text)
        file.write(text + "\n")


def versions():
    return {"torch": torch.__version__, "transformers": transformers.__version__}


def tensor(cls, name, shape, seed):
    if cls not in EXPERTS:
        return formula(name, shape, seed)
    pattern, parts, router = EXPERTS[cls]
    layer, _, rest = name.partition("mlp.")
    if rest == "gate.weight":
        return formula(layer + router + ".weight", shape, seed)
    if rest == "experts.gate_up_proj":
        half = (shape[1] // 2, shape[2])
        return torch.stack([torch.cat([formula(layer + pattern % (e, p), half, seed) for p in parts[:2]])
                            for e in range(shape[0])])
    if rest == "experts.down_proj":
        return torch.stack([formula(layer + pattern % (e, parts[2]), shape[1:], seed) for e in range(shape[0])])
    return formula(name, shape, seed)


def tiny_model(cls, config):
    """The checkpoint of the formula; every parameter that the class has is replaced."""
    model_class = getattr(transformers, cls)
    keys = {**config["config"], **config.get("reference", {})}
    hf = model_class.config_class(**{k: v for k, v in keys.items() if v is not None or k == "sliding_window"})
    hf._attn_implementation = "eager"
    model = model_class(hf).float().eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.copy_(tensor(cls, name, tuple(parameter.shape), config["seed"]))
    return model


def make_tiny(names):
    for name, seed, cls, extra in TINY:
        if names and name not in names:
            continue
        config = {k: v for k, v in {**BASE, **extra}.items() if v is not None or k == "sliding_window"}
        config.setdefault("num_key_value_heads", config["num_attention_heads"])
        beside = {k: config.pop(k) for k in ("context", "reference") if k in config}
        data = {"made_with": versions(), "seed": seed, **beside,
                "config": {"architectures": [cls], **config}, "prompts": []}
        model = tiny_model(cls, data)
        prompt_seed = seed * 1000
        for length in (5, 21, 40):
            while True:  # a prompt whose margins are clear
                ids = [int(d % np.uint64(config["vocab_size"])) for d in draws(prompt_seed, length)]
                tokens, margins, logits = greedy(model, ids, 24)
                prompt_seed += 1
                if min(margins) > MARGIN_MIN:
                    break
            data["prompts"].append({"ids": ids, "tokens": tokens, "margin_min": min(margins),
                                    "logit_ids": list(range(config["vocab_size"])),
                                    "logits": short(logits)})
        write(os.path.join(HERE, "tiny", name + ".json"), data)
        print(name, [p["margin_min"] for p in data["prompts"]])


def make_smollm2(folder):
    from tokenizers import Tokenizer
    tokenizer = Tokenizer.from_file(os.path.join(folder, "tokenizer.json"))
    model = transformers.LlamaForCausalLM.from_pretrained(folder, dtype=torch.float32,
                                                          attn_implementation="eager").eval()
    data = {"made_with": versions(), "safetensors_bytes": os.path.getsize(os.path.join(folder, "model.safetensors")),
            "prompts": []}
    for text in PROMPTS:
        index = len(data["prompts"])
        if index == 16:
            break
        ids = tokenizer.encode(text, add_special_tokens=False).ids
        tokens, margins, logits = greedy(model, ids, 64)
        print(f"{min(margins):.5f}", repr(text[:40]), "->", repr(tokenizer.decode(tokens)[:60]), flush=True)
        if min(margins) <= MARGIN_MIN:
            continue  # a rounding could change a token: the next prompt
        entry = {"text": text, "ids": ids, "tokens": tokens, "margin_min": min(margins), "margins": short(margins, 4)}
        if index % 4 == 2:
            top = torch.topk(logits, 32).indices.tolist()
            spread = [int(d % np.uint64(model.config.vocab_size)) for d in draws(index, 256)]
            entry["logit_ids"] = top + spread
            entry["logits"] = short(logits[entry["logit_ids"]], 5)
        data["prompts"].append(entry)
    if len(data["prompts"]) < 16:
        sys.exit("too few prompts have clear margins")
    write(os.path.join(HERE, "smollm2.json"), data)


def fed_logits(model, prompt):
    """At the prompt's end and behind each of its tokens but the last: where a token is chosen."""
    with torch.no_grad():
        fed = prompt["ids"] + prompt["tokens"][:-1]
        return model(torch.tensor([fed])).logits[0, len(prompt["ids"]) - 1:].float()


def add_bf16(path, model, data):
    right = [fed_logits(model, prompt) for prompt in data["prompts"]]
    off, largest = [], 0
    model.bfloat16()
    for prompt, want in zip(data["prompts"], right):
        got = fed_logits(model, prompt)
        best = torch.topk(want, 2).indices
        largest = max(largest, float((got - want).gather(1, best).abs().max()))
        if "logits" in prompt:
            stored = torch.tensor(prompt["logits"])
            assert (want[0, prompt["logit_ids"]] - stored).abs().max() < 1e-3, path  # the model of these vectors
            off.append(got[0, prompt["logit_ids"]] - stored)
    data["bf16"] = {"rms": round(float(torch.cat(off).square().mean().sqrt()), 5), "max": round(largest, 5)}
    write(path, data)
    print(os.path.basename(path), data["bf16"], flush=True)


def make_bf16(args):
    names = [name for name, *_ in TINY if name in args]
    folder = next((arg for arg in args if arg not in names), None)
    for name, _, cls, _ in TINY:
        if names and name not in names:
            continue
        path = os.path.join(HERE, "tiny", name + ".json")
        with open(path, encoding="utf-8") as file:
            data = json.load(file)
        add_bf16(path, tiny_model(cls, data), data)
    if folder:
        path = os.path.join(HERE, "smollm2.json")
        with open(path, encoding="utf-8") as file:
            data = json.load(file)
        model = transformers.LlamaForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager")
        add_bf16(path, model.eval(), data)


if __name__ == "__main__":
    torch.set_num_threads(1)
    np.seterr(over="ignore")
    if sys.argv[1:2] == ["tiny"]:
        make_tiny(sys.argv[2:])
    elif sys.argv[1:2] == ["bf16"]:
        make_bf16(sys.argv[2:])
    elif len(sys.argv) == 3 and sys.argv[1] == "smollm2":
        make_smollm2(sys.argv[2])
    else:
        sys.exit(__doc__)
