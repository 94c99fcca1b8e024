//! What a flag that does not exist may have meant: a key of the configuration.
use super::Cli;
use crate::config;
use crate::stop::shell_word;
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Command, CommandFactory};
use std::ffi::OsString;
use std::path::Path;

/// Adds a tip to the refusal of these arguments, where there is one.
pub fn add_tip(refused: &mut clap::Error, args: impl Iterator<Item = OsString>) {
    let args: Vec<String> = args.map(|arg| arg.to_string_lossy().into_owned()).collect();
    if let Some(tip) = flag_tip(&args, refused) {
        refused.insert(ContextKind::Suggested, ContextValue::StyledStrs(vec![tip.into()]));
    }
}

/// `--set key=value` for the flag that was refused, where its command takes that and a key is like the flag.
fn flag_tip(args: &[String], refused: &clap::Error) -> Option<String> {
    let Some(ContextValue::String(flag)) = refused.get(ContextKind::InvalidArg) else { return None };
    if refused.kind() != ErrorKind::UnknownArgument || !flag.starts_with("--") {
        return None;
    }
    // The command is what leads to the flag by name.
    let root = Cli::command();
    let at = args.iter().position(|arg| arg == flag || arg.starts_with(&format!("{flag}=")))?;
    let command = args[..at]
        .iter()
        .fold(&root, |command: &Command, arg| command.find_subcommand(arg).unwrap_or(command));
    command.get_arguments().find(|arg| arg.get_long() == Some("set"))?;
    let key = config::key_of_flag(flag)?;
    let inline = args[at].split_once('=').map(|(_, value)| value.to_owned());
    let next = || args.get(at + 1).filter(|next| !next.starts_with("--")).cloned();
    let value = inline.or_else(next).unwrap_or("VALUE".into());
    Some(format!("did you mean --set {}?", shell_word(Path::new(&format!("{key}={value}")))))
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[test]
    fn flags_of_other_programs_become_keys() {
        let tip = |line: &str| {
            let args: Vec<String> = line.split(' ').map(String::from).collect();
            flag_tip(&args, &Cli::try_parse_from(&args).unwrap_err())
        };
        for (flags, set) in [
            ("--schedule.lr 1e-4", "schedule.lr=1e-4"),
            ("--lr 1e-4", "schedule.lr=1e-4"),
            ("--lr=1e-4", "schedule.lr=1e-4"),
            ("--learning-rate 1e-4", "schedule.lr=1e-4"),
            ("--learning_rate 1e-4", "schedule.lr=1e-4"),
            ("--batch-size 8", "batch.sequences=8"),
            ("--steps 100", "train.steps=100"),
            ("--train.steps 100", "train.steps=100"),
            ("--max-steps 100", "train.steps=100"),
            ("--seed 3", "seed=3"),
            ("--output-dir runs/a", "run_dir=runs/a"),
            ("--run-dir runs/a", "run_dir=runs/a"),
            ("--weight-decay 0", "optim.weight_decay=0"),
            ("--warmup 1%", "schedule.warmup=1%"),
            ("--gradient-checkpointing", "train.recompute=VALUE"),
            ("--checkpoint.every 30m --lr 1", "checkpoint.every=30m"),
        ] {
            let expected = format!("did you mean --set {set}?");
            for command in ["train run.toml", "resume runs/a", "plan run.toml"] {
                assert_eq!(
                    tip(&format!("rewarm {command} {flags}")).as_deref(),
                    Some(&expected[..]),
                    "{command} {flags}"
                );
            }
        }
        assert_eq!(tip("rewarm train run.toml --quux 1"), None);
        assert_eq!(tip("rewarm doctor --lr 1"), None);
        assert_eq!(tip("rewarm train run.toml -x"), None);
        assert_eq!(tip("rewarm nothing --lr 1"), None);
    }
}
