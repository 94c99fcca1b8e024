//! What to write instead of a flag that does not exist: mostly a key of the configuration.
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

/// Flags of other programs for what is no key here, without their dashes and with `_` inside, and what there is instead.
const INSTEAD: &[(&[&str], &str)] = &[
    (
        &["resume", "resume_from", "resume_from_checkpoint", "continue"],
        "`rewarm resume RUN_DIR` continues a run; --set start.from=DIR starts a new one from its weights",
    ),
    (
        &["epochs", "num_epochs", "num_train_epochs", "max_epochs", "train_epochs"],
        "a run is as long as --set train.steps=N or --set train.tokens=10M says; `rewarm plan` prints the epochs",
    ),
    (
        &["gradient_accumulation_steps", "grad_accum_steps", "accumulate_grad_batches", "total_batch_size"],
        "--set batch.sequences=N is the whole batch, in sequences, of which batch.micro are computed at once",
    ),
    (
        &[
            "gpus",
            "gpu",
            "num_gpus",
            "devices",
            "nproc_per_node",
            "nnodes",
            "world_size",
            "local_rank",
            "tensor_model_parallel_size",
            "tp",
            "pipeline_model_parallel_size",
            "pp",
            "data_parallel_shard_degree",
            "zero_stage",
            "use_distributed_optimizer",
            "fsdp",
            "deepspeed",
            "ddp",
        ],
        "a run has one device: --device cuda:0",
    ),
    (
        &["fp16", "bf16", "amp", "half", "dtype", "precision", "fp32", "fp8", "tf32"],
        "--set train.precision=f32|mixed|bf16: everything in f32 (a cpu's default), or activations in bf16, where mixed (a \
         GPU's default) keeps master weights and moments in f32, and bf16 does not",
    ),
    (
        &["wandb", "wandb_log", "wandb_project", "wandb_run_name", "enable_wandb", "report_to", "use_wandb"],
        LOG,
    ),
    (
        &["tensorboard", "tensorboard_dir", "enable_tensorboard", "use_tensorboard"],
        "--set log.tensorboard=true writes event files to the folder tensorboard of the run directory",
    ),
    (&["tracker"], LOG),
    (&["log_interval", "logging_steps", "log_freq", "log_every", "logging_dir", "log_dir"], LOG),
    (
        &[
            "val_data",
            "valid_data",
            "valid_data_path",
            "val_file",
            "validation_file",
            "input_val_bin",
            "eval_data",
        ],
        "name sets as [[data.validation]] in the file, or hold documents out with --set data.validation_fraction=0.01",
    ),
    (&["split"], "--set data.validation_fraction=0.01 holds documents out"),
    (
        &["beta1", "beta2", "adam_beta1", "adam_beta2", "betas"],
        "--set optim.betas=[BETA1,BETA2] is both of them",
    ),
    (
        &["optim", "optimizer"],
        "AdamW is what there is; its keys are optim.betas, optim.eps, optim.weight_decay",
    ),
    (
        &["model"],
        "--set start.from=DIR for a trained model, --set model.preset=NAME for one from scratch, such as pythia-160m",
    ),
    (
        &["config", "config_file", "args_file"],
        "the configuration is named without a flag: `rewarm train FILE`",
    ),
    (
        &["compile", "torch_compile", "flash", "flash_attn", "use_flash_attn", "attn_implementation"],
        "nothing to switch on: kernels are compiled in, and attention is always computed in tiles",
    ),
    (
        &["num_workers", "dataloader_num_workers", "workers"],
        "shards are mapped into memory and need no workers; --set threads=N is what computes on a cpu",
    ),
    (&["do_train", "do_eval"], "`rewarm train` trains, and `rewarm eval` evaluates"),
    (
        &["overwrite_output_dir", "force", "overwrite"],
        "no run replaces another; choose a new run_dir or delete the old one",
    ),
];

const LOG: &str = "every step is a JSON line of metrics.jsonl in the run directory, without being asked";

/// What to write instead of the flag that was refused, where its command takes `--set`.
fn flag_tip(args: &[String], refused: &clap::Error) -> Option<String> {
    let Some(ContextValue::String(flag)) = refused.get(ContextKind::InvalidArg) else { return None };
    if refused.kind() != ErrorKind::UnknownArgument || !flag.starts_with('-') {
        return None;
    }
    // The command is what leads to the flag by name.
    let root = Cli::command();
    let long = flag.starts_with("--");
    let is_it = |arg: &String| match arg.strip_prefix(flag.as_str()) {
        Some(rest) => rest.is_empty() || rest.starts_with('=') || !long,
        None => false,
    };
    let at = args.iter().position(is_it)?;
    let command = args[..at]
        .iter()
        .fold(&root, |command: &Command, arg| command.find_subcommand(arg).unwrap_or(command));
    command.get_arguments().find(|arg| arg.get_long() == Some("set"))?;
    let name = flag.trim_start_matches('-').replace('-', "_");
    if let Some((_, instead)) = INSTEAD.iter().find(|(flags, _)| long && flags.contains(&name.as_str())) {
        return Some((*instead).to_owned());
    }
    let inline = args[at].split_once('=').map(|(_, value)| value);
    let next = || args.get(at + 1).map(String::as_str).filter(|next| !next.starts_with("--"));
    Some(match config::set_for_flag(&name, inline.or_else(next)).filter(|_| long) {
        Some(set) => format!("did you mean --set {}?", shell_word(Path::new(&set))),
        None => {
            "--set KEY=VALUE overrides a key of the configuration; docs/configuration.md lists them".into()
        }
    })
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
            ("--gradient-checkpointing", "'train.recompute=none|cheap|block'"),
            ("--recompute-granularity block", "train.recompute=block"),
            // The Trainer of transformers.
            ("--per_device_train_batch_size 4", "batch.micro=4"),
            ("--lr_scheduler_type cosine", "schedule.name=cosine"),
            ("--warmup_ratio 0.03", "schedule.warmup=3%"),
            ("--warmup_steps 100", "schedule.warmup=100"),
            ("--max_grad_norm 1.0", "optim.clip=1.0"),
            ("--adam_epsilon 1e-8", "optim.eps=1e-8"),
            ("--save_steps 500", "checkpoint.every=500"),
            ("--save_total_limit 2", "checkpoint.keep=2"),
            ("--eval_steps 500", "eval.every=500"),
            ("--model_name_or_path EleutherAI/pythia-70m", "start.from=EleutherAI/pythia-70m"),
            ("--tokenizer_name tok", "data.tokenizer=tok"),
            ("--train_file a.jsonl", "'data.train=[\"a.jsonl\"]'"),
            // nanoGPT.
            ("--batch_size=32", "batch.sequences=32"),
            ("--block_size=64", "data.seq_len=64"),
            ("--max_iters=2000", "train.steps=2000"),
            ("--n_layer=4", "model.num_hidden_layers=4"),
            ("--n_head=4", "model.num_attention_heads=4"),
            ("--n_embd=128", "model.hidden_size=128"),
            ("--out_dir=out", "run_dir=out"),
            ("--min_lr=1e-5", "schedule.min_lr=1e-5"),
            ("--eval_interval=200", "eval.every=200"),
            ("--grad_clip=1", "optim.clip=1"),
            ("--dataset=shakespeare", "'data.train=[\"shakespeare\"]'"),
            // Megatron-LM.
            ("--train-iters 100", "train.steps=100"),
            ("--global-batch-size 8", "batch.sequences=8"),
            ("--micro-batch-size 4", "batch.micro=4"),
            ("--seq-length 2048", "data.seq_len=2048"),
            ("--lr-decay-style cosine", "schedule.name=cosine"),
            ("--lr-warmup-fraction .01", "schedule.warmup=1%"),
            ("--lr-warmup-iters 10", "schedule.warmup=10"),
            ("--clip-grad 1.0", "optim.clip=1.0"),
            ("--save ckpt", "run_dir=ckpt"),
            ("--load ckpt", "start.from=ckpt"),
            ("--save-interval 100", "checkpoint.every=100"),
            ("--num-layers 12", "model.num_hidden_layers=12"),
            ("--hidden-size 768", "model.hidden_size=768"),
            ("--tokenizer-model t.json", "data.tokenizer=t.json"),
            // torchtitan.
            ("--training.steps 100", "train.steps=100"),
            ("--training.seq_len 2048", "data.seq_len=2048"),
            ("--training.local_batch_size 8", "batch.micro=8"),
            ("--optimizer.lr 3e-4", "schedule.lr=3e-4"),
            ("--lr_scheduler.warmup_steps 200", "schedule.warmup=200"),
            ("--checkpoint.interval 500", "checkpoint.every=500"),
            ("--job.dump_folder out", "run_dir=out"),
            // llm.c's Python.
            ("--num_iterations 100", "train.steps=100"),
            ("--input_bin a.bin", "'data.train=[\"a.bin\"]'"),
            ("--sequence_length 1024", "data.seq_len=1024"),
            ("--val_loss_every 10", "eval.every=10"),
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
        for (flag, word) in [
            ("--resume", "`rewarm resume RUN_DIR`"),
            ("--resume_from_checkpoint runs/a", "`rewarm resume RUN_DIR`"),
            ("--epochs 3", "train.steps"),
            ("--num-train-epochs=3", "train.steps"),
            ("--gradient_accumulation_steps 4", "batch.sequences"),
            ("--gpus 4", "--device cuda:0"),
            ("--tensor-model-parallel-size 2", "--device cuda:0"),
            ("--fp16", "train.precision=f32|mixed|bf16"),
            ("--bf16", "train.precision=f32|mixed|bf16"),
            ("--dtype=bfloat16", "train.precision=f32|mixed|bf16"),
            ("--wandb", "metrics.jsonl"),
            ("--tensorboard", "log.tensorboard=true"),
            ("--report_to none", "metrics.jsonl"),
            ("--logging_steps 10", "metrics.jsonl"),
            ("--validation_file v.jsonl", "[[data.validation]]"),
            ("--adam-beta2 0.95", "optim.betas=[BETA1,BETA2]"),
            ("--optim adamw_torch", "AdamW"),
            ("--model pythia-70m", "model.preset"),
            ("--config run.toml", "without a flag"),
            ("--compile=False", "nothing to switch on"),
            ("--num-workers 4", "threads=N"),
            ("--overwrite_output_dir", "run_dir"),
            // Nothing is like these.
            ("--quux 1", "--set KEY=VALUE"),
            ("-x", "--set KEY=VALUE"),
            ("-lr 1", "--set KEY=VALUE"),
        ] {
            let said = tip(&format!("rewarm train run.toml {flag}")).unwrap_or_default();
            assert!(said.contains(word) && !said.contains('\n'), "{flag}: {said}");
        }
        assert_eq!(tip("rewarm doctor --lr 1"), None);
        assert_eq!(tip("rewarm nothing --lr 1"), None);
    }
}
