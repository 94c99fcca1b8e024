#![no_main]
#[path = "../targets.rs"]
#[allow(dead_code)]
mod targets;

/// libFuzzer's hook ends the process at every panic, those too that rewarm catches in the library of tokenizers. One that
/// is not caught ends it all the same.
static QUIET: std::sync::Once = std::sync::Once::new();

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    QUIET.call_once(|| std::panic::set_hook(Box::new(|_| ())));
    targets::chat_template(bytes);
});
