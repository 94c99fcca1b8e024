#!/usr/bin/env python3
"""Writes tests/golden_chat: a small tokenizer, chat templates in the manner of well-known models, and what transformers makes
of conversations with them: the text, the ids, and for each token whether the assistant says it.

    pip install transformers tokenizers jinja2
    python tools/golden_chat.py [OUTDIR]

Where a template has `{% generation %}` blocks, the mask is that of `return_assistant_tokens_mask`. Where not, it is stated
here: a message of the assistant begins where the text that asks for it ends (`add_generation_prompt`), and ends where that
of the messages up to it does; a token is the assistant's where its first character is.
"""
import json
import sys
from pathlib import Path

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

SPECIAL = {"bos_token": "<s>", "eos_token": "<|endoftext|>"}
MARKERS = ["<|im_start|>", "<|im_end|>", "[INST]", "[/INST]"]

CONVERSATIONS = [
    [
        {"role": "user", "content": "What is the capital of France?"},
        {"role": "assistant", "content": "Paris."},
    ],
    [
        {"role": "system", "content": "You answer in verse."},
        {"role": "user", "content": "  Why is the sky blue? \n"},
        {"role": "assistant", "content": "The light is scattered,\nthe blue is what mattered."},
        {"role": "user", "content": "Und auf Deutsch? Größe, naïve café — 日本語 🙂"},
        {"role": "assistant", "content": "Streulicht: blau überwiegt, 日本語も 🙂🙂.\n\n"},
    ],
    [
        {"role": "user", "content": "Say <|im_end|> and \"quotes\" & {{ braces }} {% tags %}"},
        {"role": "assistant", "content": ""},
        {"role": "user", "content": ""},
        {"role": "assistant", "content": "It's done: 1234, don't worry."},
        {"role": "user", "content": "Thanks"},
    ],
    [
        {"role": "user", "content": "Weather in Kyoto and Oslo?"},
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [
                {"function": {"name": "weather", "arguments": {"city": "Kyōto", "days": [1, 2], "si": True}}},
                {"function": {"name": "weather", "arguments": {}}},
            ],
        },
        {"role": "tool", "content": "{\"sun\": 0.5}"},
        {"role": "assistant", "content": "Half sun."},
    ],
]

CHATML = (
    "{% for message in messages %}{{'<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' + '\\n'}}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)

MARKED = """{%- for message in messages %}
    {{- '<|im_start|>' + message.role + '\\n' }}
    {%- if message.role == 'assistant' %}
        {%- generation %}
        {{- message.content + '<|im_end|>' }}
        {%- endgeneration %}
    {%- else %}
        {{- message.content + '<|im_end|>' }}
    {%- endif %}
    {{- '\\n' }}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\\n' }}
{%- endif %}
"""

LLAMA = """{{- bos_token }}
{%- if not tools is defined %}
    {%- set tools = none %}
{%- endif %}
{%- if not date_string is defined %}
    {%- set date_string = "26 Jul 2024" %}
{%- endif %}
{%- if messages[0]['role'] == 'system' %}
    {%- set system_message = messages[0]['content']|trim %}
    {%- set messages = messages[1:] %}
{%- else %}
    {%- set system_message = "" %}
{%- endif %}
{{- "<|start|>system<|end|>\\n\\nToday: " + date_string + "\\n\\n" + system_message + "<|eot|>" }}
{%- for message in messages %}
    {{- '<|start|>' + message['role'] + '<|end|>\\n\\n'+ message['content'] | trim + '<|eot|>' }}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|start|>assistant<|end|>\\n\\n' }}
{%- endif %}
"""

MISTRAL = """{%- if messages[0]["role"] == "system" %}
    {%- set system_message = messages[0]["content"] %}
    {%- set loop_messages = messages[1:] %}
{%- else %}
    {%- set loop_messages = messages %}
{%- endif %}
{{- bos_token }}
{%- for message in loop_messages %}
    {%- if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}
        {{- raise_exception('After the optional system message, roles must alternate user/assistant') }}
    {%- endif %}
    {%- if message["role"] == "user" %}
        {%- if loop.first and system_message is defined %}
            {{- " [INST] " + system_message + "\\n\\n" + message["content"] + " [/INST]" }}
        {%- else %}
            {{- " [INST] " + message["content"] + " [/INST]" }}
        {%- endif %}
    {%- elif message["role"] == "assistant" %}
        {{- " " + message["content"] + eos_token}}
    {%- else %}
        {{- raise_exception("Only user and assistant roles are supported") }}
    {%- endif %}
{%- endfor %}
"""

TOOLS = """{% macro said(m) %}{{ m.content.strip('\\n').split('|')[-1] if m.content is string else '' }}{% endmacro %}
{% set ns = namespace(turns=0) %}
{% for m in messages %}
    {% if m.role == 'user' %}{% set ns.turns = ns.turns + 1 %}{% endif %}
{{ '<|im_start|>' ~ m.role ~ ns.turns ~ '\\n' ~ said(m) }}{{ m.tool_calls is defined }}{{ none }}
    {% for call in m.tool_calls or [] %}
{{ {'name': call.function.name, 'arguments': call.function.arguments} | tojson }}
{% if call.function.arguments.items() | length > 2 %}{{ call.function.arguments | tojson(indent=2) }}{% continue %}{% endif %}
{{ call.function.arguments.get('city', 'nowhere').upper()[:3] ~ 'abc'[::-1] }}
    {% endfor %}
<|im_end|>
{% endfor %}
{% if add_generation_prompt %}<|im_start|>assistant{{ ns.turns }}
{% endif %}
"""

TEMPLATES = {"chatml": CHATML, "marked": MARKED, "llama": LLAMA, "mistral": MISTRAL, "tools": TOOLS}


def small_tokenizer():
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=420, special_tokens=[*SPECIAL.values(), *MARKERS], show_progress=False,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    )
    texts = [m["content"] or "" for c in CONVERSATIONS for m in c] * 3 + ["assistant user system start end eot"] * 3
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


def spans(tokenizer, messages):
    """From where to where the assistant speaks, in characters."""
    render = lambda part, asks: tokenizer.apply_chat_template(part, tokenize=False, add_generation_prompt=asks)
    whole, found = render(messages, False), []
    for i, message in enumerate(messages):
        if message["role"] == "assistant":
            before, after = render(messages[:i], True), render(messages[: i + 1], False)
            assert whole.startswith(before) and whole.startswith(after)
            found.append((len(before), len(after)))
    return whole, found


def case(tokenizer, name, number):
    messages = CONVERSATIONS[number]
    text, parts = spans(tokenizer, messages)
    encoded = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
    mask = [int(any(a <= start < b for a, b in parts)) for start, _ in encoded["offset_mapping"]]
    ids = encoded["input_ids"]
    if name == "marked":
        theirs = tokenizer.apply_chat_template(messages, return_dict=True, return_assistant_tokens_mask=True)
        assert ids == theirs["input_ids"]
        mask = theirs["assistant_masks"]
    return {"template": name, "conversation": number, "text": text, "ids": ids, "mask": mask}


def main(out):
    out.mkdir(parents=True, exist_ok=True)
    tokenizer = small_tokenizer()
    tokenizer.save(str(out / "tokenizer.json"))
    cases, refused = [], []
    for name, template in TEMPLATES.items():
        wrapped = PreTrainedTokenizerFast(tokenizer_object=tokenizer, chat_template=template, **SPECIAL)
        for number in range(len(CONVERSATIONS)):
            try:
                cases.append(case(wrapped, name, number))
            except Exception as e:  # whatever Jinja says of a conversation that a template does not take
                print(f"{name} refuses conversation {number}: {e}")
                refused.append([name, number])
    golden = {
        "special": SPECIAL, "templates": TEMPLATES, "conversations": CONVERSATIONS, "cases": cases, "refused": refused,
    }
    (out / "cases.json").write_text(json.dumps(golden, indent=1) + "\n")
    print(f"{len(cases)} cases, {len(refused)} refused")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent.parent / "tests" / "golden_chat")
