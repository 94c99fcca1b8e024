#!/usr/bin/env python3
# /// script
# requires-python = ">=3.10"
# dependencies = ["transformers>=5", "tokenizers>=0.22"]
# ///
"""What AutoTokenizer gives for a directory that rewarm exported: tests/huggingface/tokenizer/ids.json.

    uv run tools/golden_tokenizer.py EXPORT > tests/huggingface/tokenizer/ids.json

EXPORT has tokenizer.json and tokenizer_config.json as in that folder, and a config.json of GPT-NeoX.
"""

import json
import os
import sys

os.environ.setdefault("HF_HUB_OFFLINE", "1")

from transformers import AutoTokenizer

TEXTS = [
    "The river watches the mountain.", "caf\u00e9 and cafe\u0301", "na\u00efve A\u030angstro\u0308m \u1e9b\u0323",
    "two  spaces   three\ttab\t\ttabs", "line\nline\r\nline\r\n\r\n", "  leading and trailing  ", " ", "", "\n", "\u00a0nbsp\u00a0",
    "<|endoftext|>", "a<|endoftext|>b", "a <|endoftext|> b<|endoftext|><|endoftext|>", "<|padding|> <|endoftext|", "<|EndOfText|>",
    "don't won't I'll , . !  ( x )", "\U0001f600 \U0001f469\u200d\U0001f4bb \U0001f1e9\U0001f1ea", "\u4e2d\u6587 \u0939\u093f\u0928\u094d\u0926\u0940 \u0627\u0644\u0639\u0631\u0628\u064a\u0629",
    "\u212b \ufb01 \u2460 \u00bd", "1234567890 3.14e-5 0x1F", "\x00\x01\x7f", "\ufeffmark", "\u200bzero\u200bwidth", "a" * 300,
    "def f(x):\n    return x  # comment\n", "\u2028\u2029\x0b\x0c\x85",
]


def main(folder):
    tokenizer = AutoTokenizer.from_pretrained(folder)
    ids = [{"text": text, "ids": tokenizer(text)["input_ids"]} for text in TEXTS]
    # Decoded with no clean-up of spaces, the text comes back.
    assert all(tokenizer.decode(case["ids"]) == case["text"] for case in ids), "decoding changes a text"
    print(json.dumps({"class": type(tokenizer).__name__, "length": len(tokenizer), "bos": tokenizer.bos_token, "eos": tokenizer.eos_token,
               "eos_id": tokenizer.eos_token_id, "max_length": tokenizer.model_max_length, "texts": ids}))


if __name__ == "__main__":
    main(sys.argv[1])
