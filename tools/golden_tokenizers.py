#!/usr/bin/env python3
"""Writes tests/golden_tokenizers: small tokenizers of many kinds, the ids that transformers gives for hard texts, and
what transformers makes of the same tokenizers when it saves them again (resaved/).

    pip install transformers tokenizers
    python tools/golden_tokenizers.py [OUTDIR]

The ids are those of `PreTrainedTokenizerFast(tokenizer_file=...)(text, add_special_tokens=False)`, which neither
truncates nor pads. Where a file sets BPE dropout, its own ids are random, and those of the same file without dropout are
written. Training breaks ties by chance where there is no byte-level alphabet, so that another run makes other vocabularies
of those kinds: files and ids go together.
"""
import json
import sys
import tempfile
from pathlib import Path

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

CORPUS = [
    "The river watches the mountain slowly. The teacher follows the garden again, and again, and again.",
    "It's what we'll say: they've remembered 1234 letters, I'd carry 56 of them; don't you?",
    "  def add(x, y):\n\treturn x + y  # sums\n\n    for i in range(10):\n        print(i)\n",
    "Un café très doux à l'été, naïve façade; Straße, Übermut, Ångström.",
    "日本語のテキスト。中文文本。한국어 텍스트. Привет, мир! Γειά σου Κόσμε.",
    "the the the of of and and in in to to a a is is that that it it for for was was on on",
] * 4

TEXTS = [
    "",
    "The teacher follows the garden, and the river watches the mountain again and again and again; it's what they'll say.",
    "cafe\u0301 café CAFE\u0301 \u212bngström naïve ﬁne",
    "  two  spaces\n\n\tand a tab   \r\n end ",
    "<|endoftext|>The end<|endoftext|><s>again</s> [CLS] river [SEP] <unk> [UNK] <pad>",
    "a <ent> b<ent>c  <ent>  d <left>  e  <right> f xwholex whole. whole",
    "日本語のテキスト、です。 한국어 \U0001f642\U0001f642 \U0001f469\u200d\U0001f4bb ½ Ⅷ ٣ \u1e9e",
    "def add(x, y):\n        return x + y * 12345 - 3.14e-9",
    "don't DON'T we'Ll 'tis I'd they've 'r 're '",
    "zażółć gęślą jaźń \0\u007f\u0085\u00a0\u3000\u2028x",
    "unbelievablyunseenwordthatislongerthananyother" * 3,
    "The " * 60,
]


def byte_level(**options):
    return pre_tokenizers.ByteLevel(**{"add_prefix_space": False, **options})


def bpe(size=400, special=("<|endoftext|>",), byte=True, **options):
    tokenizer = Tokenizer(models.BPE(**options))
    alphabet = pre_tokenizers.ByteLevel.alphabet() if byte else []
    trainer = trainers.BpeTrainer(
        vocab_size=size, special_tokens=list(special), initial_alphabet=alphabet, show_progress=False,
        **{k: options[k] for k in ("continuing_subword_prefix", "end_of_word_suffix") if k in options},
    )
    return tokenizer, trainer


def trained(tokenizer, trainer):
    tokenizer.train_from_iterator(CORPUS, trainer)
    return tokenizer


def gpt2(**options):
    tokenizer, trainer = bpe(**options)
    tokenizer.pre_tokenizer = byte_level()
    tokenizer.decoder = decoders.ByteLevel()
    return trained(tokenizer, trainer)


def truncated():
    tokenizer = gpt2()
    tokenizer.enable_truncation(max_length=16)
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=False)
    return tokenizer


def padded():
    tokenizer = gpt2()
    tokenizer.enable_truncation(max_length=64, stride=2)
    tokenizer.enable_padding(length=64, pad_id=0, pad_token="<|endoftext|>")
    return tokenizer


def neox():
    tokenizer, trainer = bpe()
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = byte_level()
    tokenizer.decoder = decoders.ByteLevel()
    trained(tokenizer, trainer)
    tokenizer.add_special_tokens(["<|padding|>"])
    tokenizer.add_tokens([AddedToken(" " * n, normalized=True) for n in range(24, 1, -1)])
    bos = ("<|endoftext|>", tokenizer.token_to_id("<|endoftext|>"))
    tokenizer.post_processor = processors.TemplateProcessing(single="<|endoftext|> $A", special_tokens=[bos])
    return tokenizer


def roberta():
    tokenizer, trainer = bpe(special=("<s>", "</s>", "<pad>", "<unk>", "<mask>"))
    tokenizer.pre_tokenizer = byte_level(add_prefix_space=True)
    tokenizer.decoder = decoders.ByteLevel()
    trained(tokenizer, trainer)
    tokenizer.post_processor = processors.RobertaProcessing(("</s>", 1), ("<s>", 0))
    return tokenizer


def llama():
    special = ["<unk>", "<s>", "</s>"] + [f"<0x{b:02X}>" for b in range(256)]
    tokenizer, trainer = bpe(500, special, byte=False, unk_token="<unk>", byte_fallback=True, fuse_unk=True)
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    trained(tokenizer, trainer)
    file = json.loads(tokenizer.to_str())
    # The bytes are plain entries of the vocabulary there.
    file["added_tokens"] = [t for t in file["added_tokens"] if not t["content"].startswith("<0x")]
    tokenizer = Tokenizer.from_str(json.dumps(file))
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    return tokenizer


def llama3():
    tokenizer, trainer = bpe(ignore_merges=True)
    split = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
    split += r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(Regex(split), "isolated"), byte_level(use_regex=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    return trained(tokenizer, trainer)


def lowercase():
    tokenizer, trainer = bpe()
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.NFD(), normalizers.Lowercase(), normalizers.StripAccents()]
    )
    tokenizer.pre_tokenizer = byte_level()
    tokenizer.decoder = decoders.ByteLevel()
    return trained(tokenizer, trainer)


def stripping():
    tokenizer = gpt2()
    tokenizer.add_tokens(
        [
            AddedToken("<ent>", lstrip=True, rstrip=True),
            AddedToken("<left>", lstrip=True, normalized=False),
            AddedToken("<right>", rstrip=True),
            AddedToken("whole", single_word=True),
        ]
    )
    return tokenizer


def nothing_added():
    """Added tokens that NFC changes, and a prefix of another."""
    tokenizer, trainer = bpe()
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = byte_level()
    tokenizer.decoder = decoders.ByteLevel()
    trained(tokenizer, trainer)
    tokenizer.add_tokens(["cafe\u0301", "caf", "<|endoftext|><s>"])
    return tokenizer


def wordpiece():
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]", max_input_chars_per_word=40))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    trained(tokenizer, trainers.WordPieceTrainer(vocab_size=300, special_tokens=special, show_progress=False))
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    tokenizer.enable_truncation(max_length=12)
    tokenizer.enable_padding(pad_id=0, pad_token="[PAD]", pad_to_multiple_of=8)
    return tokenizer


def unigram():
    tokenizer = Tokenizer(models.Unigram())
    one_space = normalizers.Replace(Regex(" {2,}"), " ")
    tokenizer.normalizer = normalizers.Sequence([normalizers.Nmt(), normalizers.NFKC(), one_space])
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    special = ["<pad>", "</s>", "<unk>"]
    trainer = trainers.UnigramTrainer(vocab_size=320, special_tokens=special, unk_token="<unk>", show_progress=False)
    trained(tokenizer, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    tokenizer.enable_truncation(max_length=8)
    return tokenizer


def clip():
    tokenizer, trainer = bpe(byte=False, special=("<unk>",), unk_token="<unk>", end_of_word_suffix="</w>")
    one_space = normalizers.Replace(Regex(r"\s+"), " ")
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFC(), one_space, normalizers.Lowercase()])
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Punctuation(), pre_tokenizers.Digits(individual_digits=True)]
    )
    tokenizer.decoder = decoders.BPEDecoder()
    return trained(tokenizer, trainer)


def subwords():
    tokenizer, trainer = bpe(300, byte=False, special=("<unk>",), unk_token="<unk>", continuing_subword_prefix="##")
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first")
    tokenizer.decoder = decoders.Metaspace(prepend_scheme="first")
    return trained(tokenizer, trainer)


def wordlevel():
    tokenizer = Tokenizer(models.WordLevel(unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    trained(tokenizer, trainers.WordLevelTrainer(vocab_size=80, special_tokens=["<unk>"], show_progress=False))
    tokenizer.enable_padding(length=32, pad_id=0, pad_token="<unk>")
    return tokenizer


def merges_as_strings(tokenizer):
    file = json.loads(tokenizer.to_str())
    file["model"]["merges"] = [" ".join(pair) for pair in file["model"]["merges"]]
    # Old files lack the younger options.
    for key in ("ignore_merges", "byte_fallback"):
        file["model"].pop(key, None)
    return json.dumps(file, ensure_ascii=False)


def with_dropout(tokenizer):
    file = json.loads(tokenizer.to_str())
    file["model"]["dropout"] = 0.3
    return json.dumps(file, ensure_ascii=False, indent=2)


CASES = {
    "truncation": truncated,
    "padding": padded,
    "neox": neox,
    "roberta": roberta,
    "llama": llama,
    "llama3": llama3,
    "lowercase": lowercase,
    "stripping": stripping,
    "nfc-added": nothing_added,
    "wordpiece": wordpiece,
    "unigram": unigram,
    "clip": clip,
    "subwords": subwords,
    "wordlevel": wordlevel,
    "merge-strings": lambda: merges_as_strings(gpt2()),
    "dropout": lambda: with_dropout(gpt2()),
    "neox-strings": lambda: merges_as_strings(neox()),
    "llama-dropout": lambda: with_dropout(llama()),
}


def ids_of(text, file):
    """What transformers gives, one list of ids per text."""
    file = json.loads(file)
    if file["model"].get("dropout"):
        file["model"]["dropout"] = None
    with tempfile.NamedTemporaryFile("w", suffix=".json", encoding="utf-8") as tmp:
        json.dump(file, tmp, ensure_ascii=False)
        tmp.flush()
        tokenizer = PreTrainedTokenizerFast(tokenizer_file=tmp.name)
        return [tokenizer(t, add_special_tokens=False)["input_ids"] for t in text]


def resave(path, out):
    """`save_pretrained` of transformers; only tokenizer.json is kept."""
    with tempfile.TemporaryDirectory() as tmp:
        PreTrainedTokenizerFast(tokenizer_file=str(path)).save_pretrained(tmp)
        out.write_bytes((Path(tmp) / "tokenizer.json").read_bytes())


def main():
    out = Path(sys.argv[1] if len(sys.argv) > 1 else "tests/golden_tokenizers")
    (out / "resaved").mkdir(parents=True, exist_ok=True)
    ids = {}
    for name, make in CASES.items():
        made = make()
        text = made if isinstance(made, str) else made.to_str()
        path = out / f"{name}.json"
        path.write_text(text, encoding="utf-8")
        ids[name] = ids_of(TEXTS, text)
        resave(path, out / "resaved" / f"{name}.json")
    rows = ",\n".join(f"  {json.dumps(name)}: {json.dumps(rows, separators=(',', ':'))}" for name, rows in ids.items())
    (out / "ids.json").write_text(f'{{\n "texts": {json.dumps(TEXTS)},\n "ids": {{\n{rows}\n }}\n}}\n', encoding="utf-8")


if __name__ == "__main__":
    main()
