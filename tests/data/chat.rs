//! Conversations through chat templates, as transformers has them (tools/golden_chat.py), and what is trained on.
use std::fs;
use std::path::Path;
use std::sync::Arc;

use crate::folder::{Folder, refused};
use crate::planes::{read_plane, tokenized};
use crate::support::{mentions, refusal};
use rewarm::data::{Chat, ChatFiles, Corpus, InputOptions, Inputs, OnError, TextTokenizer};
use serde_json::{Value, json};

fn golden() -> Value {
    serde_json::from_slice(&fs::read("tests/golden_chat/cases.json").unwrap()).unwrap()
}

fn tokenizer() -> TextTokenizer {
    TextTokenizer::load("tests/golden_chat").unwrap()
}

fn chat(golden: &Value, template: &str, roles: &[String]) -> Chat {
    let special: Vec<_> = golden["special"].as_object().unwrap().iter().collect();
    let special: Vec<_> =
        special.iter().map(|(name, token)| (name.as_str(), token.as_str().unwrap())).collect();
    let files = ChatFiles::from_text(golden["templates"][template].as_str().unwrap(), &special);
    Chat::new("messages", files, roles).unwrap()
}

fn options(chat: Chat) -> InputOptions {
    InputOptions { chat: Some(Arc::new(chat)), ..InputOptions::default() }
}

/// A document of one weight in a template without words of its own.
fn plain(template: &str) -> Chat {
    Chat::new("messages", ChatFiles::from_text(template, &[]), &[]).unwrap()
}

const CHATML: &str = "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}\
                      {% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}";

#[test]
fn texts_ids_and_masks_are_those_of_transformers() {
    let (golden, tokenizer) = (golden(), tokenizer());
    let cases = golden["cases"].as_array().unwrap();
    assert!(cases.len() > 15);
    for case in cases {
        let name = case["template"].as_str().unwrap();
        let messages = &golden["conversations"][case["conversation"].as_u64().unwrap() as usize];
        let document = chat(&golden, name, &[]).document(messages.to_string().as_bytes()).unwrap().unwrap();
        assert_eq!(document.text, case["text"].as_str().unwrap(), "{name}");
        let line = json!({ "messages": messages }).to_string();
        let folder = Folder::new(&[("x.jsonl", line.as_bytes())]);
        let prefix = tokenized(&folder, "x.jsonl", &options(chat(&golden, name, &[])), &tokenizer, None);
        let corpus = Corpus::open(&[prefix.display().to_string()]).unwrap();
        let mut ids = vec![0; corpus.tokens() as usize];
        corpus.shards()[0].read(0, &mut ids, u32::MAX).unwrap();
        assert_eq!(json!(ids), case["ids"], "{name} {messages}");
        let mask: Vec<u32> = read_plane(&prefix).iter().map(|weight| *weight as u32).collect();
        assert_eq!(json!(mask), case["mask"], "{name} {messages}");
    }
    // What Jinja refuses is refused here: one line, and the conversation alone.
    for refused in golden["refused"].as_array().unwrap() {
        let messages = &golden["conversations"][refused[1].as_u64().unwrap() as usize];
        let chat = chat(&golden, refused[0].as_str().unwrap(), &[]);
        let why = chat.document(messages.to_string().as_bytes()).unwrap().unwrap_err();
        assert!(why.contains("the chat template refuses") && !why.contains('\n'), "{refused}: {why}");
    }
}

#[test]
fn roles_that_are_named_are_trained_on() {
    let trained = |chat: &Chat, messages: &str| {
        let document = chat.document(messages.as_bytes()).unwrap().unwrap();
        let (mut at, mut parts) = (0, Vec::new());
        for run in &document.runs {
            if run.weight == 1.0 {
                parts.push(document.text[at..run.end].to_owned());
            }
            at = run.end;
        }
        parts
    };
    let messages = r#"[{"from": "human", "value": "a"}, {"from": "gpt", "value": "b"}, {"from": "human", "value": "c"}]"#;
    assert_eq!(trained(&plain(CHATML), messages), ["b<|im_end|>\n"]);
    // A template that asks for nobody: with the words around a message, the first with what comes before it.
    let golden = golden();
    let user = chat(&golden, "mistral", &["user".into()]);
    assert_eq!(trained(&user, messages), ["<s> [INST] a [/INST]", " [INST] c [/INST]"]);
    let both = chat(&golden, "mistral", &["user".into(), "assistant".into()]);
    assert_eq!(trained(&both, messages).concat(), "<s> [INST] a [/INST] b<|endoftext|> [INST] c [/INST]");
    // Named, they count for more than what a template marks.
    assert_eq!(trained(&chat(&golden, "marked", &[]), messages), ["b<|im_end|>"]);
    assert_eq!(trained(&chat(&golden, "marked", &["assistant".into()]), messages), ["b<|im_end|>\n"]);
    assert!(trained(&chat(&golden, "marked", &["nobody".into()]), messages).is_empty());
}

#[test]
fn conversations_that_are_none_are_counted_or_stop() {
    let good = r#"{"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}"#;
    let lines = [
        good,
        r#"{"text": "no conversation"}"#,
        r#"{"messages": "none"}"#,
        r#"{"messages": [{"role": "user"}, 3]}"#,
        "{torn",
        good,
    ];
    let folder = Folder::new(&[("x.jsonl", lines.join("\n").as_bytes()), ("b.txt", b"words")]);
    let mut documents = Inputs::find(&[folder.at("")], &options(plain(CHATML))).unwrap().documents();
    let texts: Vec<_> = documents.weighed().map(|document| document.unwrap().text).collect();
    assert_eq!(texts.len(), 2);
    let dropped: Vec<_> = documents.dropped().iter().map(|d| (d.line, d.reason.as_str())).collect();
    let none = "values without a conversation in the field \"messages\"";
    assert_eq!(dropped, [(2, none), (3, none), (4, none), (5, "lines that are not JSON")]);
    assert_eq!(documents.left_out().count("text files, which have no fields"), 1);
    let stop = InputOptions { on_error: OnError::Stop, ..options(plain(CHATML)) };
    mentions(
        &refused(&[folder.at("x.jsonl")], &stop),
        &["x.jsonl line 2", "[\"text\"]", "list of messages", "--chat"],
    );
    mentions(&refused(&[folder.at("b.txt")], &options(plain(CHATML))), &["b.txt", "--chat", "--format"]);
    // None of a file is a conversation: that is a mistake.
    folder.write("x.jsonl", "{\"messages\": 1}\n");
    mentions(&refused(&[folder.at("x.jsonl")], &options(plain(CHATML))), &["x.jsonl line 1", "no list"]);
}

#[test]
fn templates_that_cannot_say_whose_a_part_is_are_refused() {
    let line = r#"{"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"},
        {"role": "user", "content": "c"}, {"role": "assistant", "content": "d"}]}"#;
    let folder = Folder::new(&[("x.json", line.as_bytes())]);
    for template in [
        // The last message has another form.
        "{% for m in messages %}{% if loop.last %}last: {% endif %}{{ m.content }};{% endfor %}",
        "{{ messages | length }} messages:{% for m in messages %}{{ m.content }}{% endfor %}",
    ] {
        let message = refused(&[folder.at("x.json")], &options(plain(template)));
        mentions(
            &message,
            &["x.json line 1", "messages is not how the text of all begins", "{% generation %}"],
        );
    }
    for (template, words) in [
        ("{% for m in messages %}", ["the chat template", "must be a template of Jinja"]),
        ("{{ messages | unknown }}", ["x.json line 1", "refuses the messages"]),
        ("{{ strftime_now('%d') }}", ["x.json line 1", "refuses the messages"]),
        (
            "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}",
            ["x.json line 1", "fuel"],
        ),
    ] {
        let made = Chat::new("messages", ChatFiles::from_text(template, &[]), &[]);
        let message = match made {
            Ok(chat) => refused(&[folder.at("x.json")], &options(chat)),
            Err(e) => e.to_string(),
        };
        mentions(&message, &words);
    }
}

#[test]
fn a_template_is_found_where_transformers_keeps_it() {
    let text = |folder: &Folder, named: Option<&Path>| {
        let chat = Chat::new("messages", ChatFiles::find(named, Some(folder.0.path()))?, &[])?;
        Ok(chat.document(br#"[{"role": "user", "content": "a"}]"#)?.unwrap().text)
    };
    let folder = Folder::new(&[("own.jinja", b"own {{ eos_token }}"), ("other", b"")]);
    mentions(
        &refusal(text(&folder, None)),
        &["chat_template.jinja", "tokenizer_config.json", "--chat-template FILE"],
    );
    assert_eq!(text(&folder, Some(&folder.at("own.jinja"))).unwrap(), "own ");
    let config = json!({ "chat_template": "of {{ bos_token }} {{ eos_token }}", "bos_token": "<s>",
        "eos_token": { "content": "</s>", "lstrip": false }, "pad_token": null });
    folder.write("tokenizer_config.json", config.to_string());
    assert_eq!(text(&folder, None).unwrap(), "of <s> </s>");
    assert_eq!(text(&folder, Some(&folder.at("own.jinja"))).unwrap(), "own </s>");
    let several = json!({ "chat_template": [{ "name": "tool_use", "template": "no" }, { "name": "default", "template": "yes" }] });
    folder.write("tokenizer_config.json", several.to_string());
    assert_eq!(text(&folder, None).unwrap(), "yes");
    folder.write("chat_template.jinja", "beside");
    assert_eq!(text(&folder, None).unwrap(), "beside");
    folder.write("tokenizer_config.json", "{");
    mentions(&refusal(text(&folder, None)), &["tokenizer_config.json", "not JSON"]);
}
