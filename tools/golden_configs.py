#!/usr/bin/env python3
# /// script
# requires-python = ">=3.10"
# dependencies = ["torch>=2.6", "transformers>=5", "safetensors>=0.5", "numpy"]
# ///
"""What transformers computes with odd entries in config.json: tests/huggingface/configs.jsonl.

    uv run tools/golden_configs.py > tests/huggingface/configs.jsonl

The first line is a config.json. Each further line changes it ("set", "remove") and says what must become of it here
("compute", or "refuse" with a word of the message), beside what AutoModelForCausalLM.from_pretrained and one forward
pass gave: the logits of the last two of twelve tokens, or an error. Weights are a formula of name and index.
"""

import json
import os
import sys
import tempfile
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import torch
import transformers
from transformers import AutoModelForCausalLM, GPTNeoXConfig, GPTNeoXForCausalLM

TOKENS = [(7 * i + 3) % 13 for i in range(12)]
SIZES = {"vocab_size": 13, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2,
         "intermediate_size": 24, "max_position_embeddings": 16}
ROPE = {"rope_theta": 500.0, "partial_rotary_factor": 0.5, "rope_type": "default"}
NEW = ["rope_parameters"]
LLAMA3 = {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
          "original_max_position_embeddings": 8}
LONG = {"rope_type": "longrope", "factor": 2.0, "short_factor": [1.0, 1.0], "long_factor": [2.0, 2.0],
        "original_max_position_embeddings": 8}


def compute(set={}, remove=()):
    return {"set": set, "remove": list(remove), "expect": "compute"}


def refuse(word, set={}, remove=()):
    return {"set": set, "remove": list(remove), "expect": "refuse", "word": word}


CASES = [
    compute(),
    # Rotary embedding, old and new spelling.
    compute({}, NEW),
    compute({"rotary_pct": 0.5}, NEW),
    compute({"rotary_emb_base": 500}, NEW),
    compute({"rotary_pct": 0}, NEW),
    compute({"rotary_pct": 1}, NEW),
    compute({"rotary_pct": 0.25, "rotary_emb_base": 10000}),
    compute({"rope_parameters": ROPE}),
    compute({"rope_parameters": {"rope_theta": 500, "rope_type": "default"}}),
    compute({"rope_parameters": {}}),
    compute({"rope_parameters": None}),
    compute({"rope_parameters": None, "rotary_pct": 0.5, "rotary_emb_base": 500.0}),
    compute({"rope_scaling": None}),
    compute({"rope_scaling": {}, "rope_parameters": ROPE}),
    compute({"rope_scaling": ROPE}, NEW),
    compute({"rope_scaling": ROPE, "rope_parameters": ROPE}),
    compute({"rope_scaling": {"rope_type": "default"}}),
    compute({"rope_scaling": {"type": "default"}, "rotary_pct": 0.5}, NEW),
    compute({"rope_parameters": {"rope_type": "default", "factor": 2.0}}),
    refuse("rope_parameters.partial_rotary_factor is 0.5",
           {"rope_scaling": {"rope_type": "default"}, "rope_parameters": ROPE}),
    refuse("rope_parameters.rope_theta is 10000.0", {"rope_scaling": {"rope_type": "default", "rope_theta": 500.0}}),
    refuse("rotary_pct is 0.5", {"rotary_pct": 0.5}),
    refuse("rotary_emb_base is 500", {"rotary_emb_base": 500}),
    refuse("partial_rotary_factor is 0.5", {"partial_rotary_factor": 0.5}, NEW),
    refuse("rope_theta is 500", {"rope_theta": 500.0}, NEW),
    refuse("rotary_pct is null", {"rotary_pct": None}, NEW),
    refuse("rotary_emb_base is null", {"rotary_emb_base": None}, NEW),
    refuse("rope_theta is null", {"rope_parameters": {"rope_theta": None}}),
    refuse("partial_rotary_factor is null", {"rope_parameters": {"partial_rotary_factor": None}}),
    refuse("rotary_pct", {"rotary_pct": 0.2}, NEW),
    refuse("rotary_pct", {"rotary_pct": 1.5}, NEW),
    refuse("rotary_pct is \"0.25\"", {"rotary_pct": "0.25"}, NEW),
    refuse("rope_scaling.type", {"rope_scaling": {"type": "linear", "factor": 2.0}}, NEW),
    refuse("rope_scaling.rope_type", {"rope_scaling": {"rope_type": "dynamic", "factor": 2.0}}, NEW),
    refuse("rope_scaling.rope_type", {"rope_scaling": {"rope_type": "yarn", "factor": 2.0}}, NEW),
    refuse("rope_parameters.rope_type", {"rope_parameters": LLAMA3}),
    refuse("rope_parameters.rope_type", {"rope_parameters": LONG}),
    refuse("rope_parameters.rope_type", {"rope_parameters": {"rope_type": "proportional", "factor": 1.0}}),
    refuse("rope_parameters.rope_type", {"rope_parameters": {"rope_type": "ntk"}}),
    refuse("rope_parameters.rope_type is null", {"rope_parameters": {"rope_type": None}}),
    refuse("rope_parameters.type", {"rope_parameters": {"rope_type": "default", "type": "linear", "factor": 2.0}}),
    refuse("rope_parameters.full_attention", {"rope_parameters": {"full_attention": {"rope_type": "default"}}}),
    # Sizes that are said twice.
    compute({"head_dim": 16}),
    compute({"head_dim": None}),
    refuse("head_dim is 12", {"head_dim": 12}),
    refuse("head_dim is 17", {"head_dim": 17}),
    refuse("head_dim is 24", {"head_dim": 24}),
    refuse("head_dim is 0", {"head_dim": 0}),
    compute({"num_key_value_heads": 1}),
    compute({"multi_query": True}),
    compute({"num_attention_heads": 4, "rotary_pct": 0.5}, NEW),
    compute({"num_attention_heads": 1}),
    refuse("does not divide", {"num_attention_heads": 3}),
    refuse("hidden_size is 32.0", {"hidden_size": 32.0}),
    refuse("max_position_embeddings is null", {"max_position_embeddings": None}),
    refuse("per_layer_config", {"per_layer_config": {"1": {"layer_norm_eps": 0.5}}}),
    compute({"per_layer_config": {}}),
    refuse("text_config", {"text_config": {"hidden_size": 64}}),
    # What is computed.
    compute({}, ["hidden_act"]),
    compute({"hidden_act": "gelu_new"}),
    compute({"hidden_act": "gelu_fast"}),
    compute({"hidden_act": "gelu_python"}),
    compute({"hidden_act": "gelu_accurate"}),
    compute({"hidden_act": "gelu_pytorch_tanh"}),
    refuse("hidden_act is null", {"hidden_act": None}),
    refuse("hidden_act is \"GELU\"", {"hidden_act": "GELU"}),
    refuse("hidden_act is \"swish\"", {"hidden_act": "swish"}),
    refuse("hidden_act is \"quick_gelu\"", {"hidden_act": "quick_gelu"}),
    refuse("hidden_act is \"gelu_10\"", {"hidden_act": "gelu_10"}),
    refuse("hidden_act is [", {"hidden_act": ["gelu", {}]}),
    compute({"use_parallel_residual": False}),
    compute({}, ["use_parallel_residual", "layer_norm_eps", "initializer_range", "attention_bias"]),
    refuse("use_parallel_residual is null", {"use_parallel_residual": None}),
    refuse("use_parallel_residual is \"true\"", {"use_parallel_residual": "true"}),
    compute({"attention_bias": False}),
    refuse("attention_bias is null", {"attention_bias": None}),
    refuse("attention_bias is 0", {"attention_bias": 0}),
    compute({"attention_dropout": 0.1, "hidden_dropout": 0.2}),
    refuse("attention_dropout is null", {"attention_dropout": None}),
    refuse("hidden_dropout is 1.5", {"hidden_dropout": 1.5}),
    compute({"layer_norm_eps": 0.1}),
    refuse("layer_norm_eps is null", {"layer_norm_eps": None}),
    refuse("layer_norm_eps is \"1e-5\"", {"layer_norm_eps": "1e-5"}),
    refuse("tie_word_embeddings is null", {"tie_word_embeddings": None}),
    refuse("is_causal is false", {"is_causal": False}),
    refuse("is_causal is null", {"is_causal": None}),
    compute({"sliding_window": 2, "attention_chunk_size": 2, "is_decoder": True, "scale_attn_weights": False}),
    # What kind of model it is.
    refuse("quantization_config", {"quantization_config": {"quant_method": "gptq", "bits": 4}}),
    refuse("quantization_config", {"quantization_config": {}}),
    compute({"quantization_config": None}),
    compute({"dtype": "float64"}),
    compute({"dtype": None, "torch_dtype": None}),
    compute({"architectures": None}),
    compute({"architectures": []}),
    refuse("architectures", {"architectures": ["GPTNeoXForSequenceClassification"]}),
    refuse("architectures", {"architectures": ["LlamaForCausalLM"]}),
    refuse("model_type is missing", {}, ["model_type"]),
    refuse("model_type is gpt_neox_japanese", {"model_type": "gpt_neox_japanese"}),
    compute({"auto_map": {"AutoModelForCausalLM": "modeling_x.X"}}),
    compute({"pad_token_id": 99, "eos_token_id": [1, 99], "use_cache": False, "my_key": [1]}),
]


def value(name, shape):
    i = torch.arange(torch.Size(shape).numel())
    return (((i * 37 + 11 * sum(name.encode())) % 127).float() / 64 - 1).mul(0.5).reshape(shape)


def main():
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        GPTNeoXForCausalLM(GPTNeoXConfig(**SIZES)).save_pretrained(folder)
        base = json.loads((folder / "config.json").read_text())
        base.pop("transformers_version")
        print(json.dumps(base))
        for case in CASES:
            config = {k: v for k, v in base.items() if k not in case["remove"]} | case["set"]
            (folder / "config.json").write_text(json.dumps(config))
            print(json.dumps(case | outcome(folder)))


@torch.no_grad()
def outcome(folder):
    try:
        model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager").eval()
        for name, parameter in model.named_parameters():
            parameter.copy_(value(name.replace("lm_head", "embed_out"), parameter.shape))
        logits = model(torch.tensor([TOKENS])).logits[0, -2:].flatten()
        return {"logits": [float(f"{x:.7g}") for x in logits.tolist()]}
    except Exception as error:  # whatever transformers does not take
        print(type(error).__name__, file=sys.stderr)
        return {"error": type(error).__name__}


if __name__ == "__main__":
    main()
