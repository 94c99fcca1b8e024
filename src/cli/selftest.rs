//! `rewarm selftest`: whether a device computes what it should.
use super::common::{print_json, with_threads};
use crate::console::{note, print};
use crate::device::DeviceName;
use crate::selftest::{Report, Row, Verdict, run as test};
use crate::{Error, Result};

/// Arguments of `rewarm selftest`.
#[derive(Debug, clap::Args)]
pub struct SelftestArgs {
    /// What to test: cuda:N, emulated (the kernels on the processor), auto (the first GPU)
    #[arg(long, value_name = "DEVICE", default_value = "auto")]
    device: DeviceName,
    /// Print one JSON object, and the table on stderr
    #[arg(long)]
    json: bool,
    /// Only what has a name that begins with this, as in --only attention
    #[arg(long, value_name = "OP")]
    only: Option<String>,
    /// Leave out products that sum the gradient of a bias (cuBLASLt's BGRADB), which are tested last otherwise
    #[arg(long)]
    separate_bias_gradients: bool,
    /// Threads of the reference; 0: all cores
    #[arg(long, default_value_t = 0)]
    threads: usize,
}

/// Runs the command; fails (exit code 2) where a kernel is wrong or a device fails.
pub fn run(args: &SelftestArgs) -> Result<()> {
    // Each line when it is known: a kernel that never ends should be the next one.
    let mut printed = Ok(());
    let mut show = |row: &Row| match args.json {
        true => note(&row.to_string()),
        false if printed.is_ok() => printed = print(&row.to_string()),
        false => (),
    };
    let (only, separate) = (args.only.as_deref(), args.separate_bias_gradients);
    let report = with_threads(args.threads, || test(args.device, only, separate, &mut show))?;
    printed?;
    if args.json {
        print_json(&report)?;
    } else {
        print(&summary(&report))?;
    }
    let (wrong, failed) = (report.count(Verdict::Wrong), report.count(Verdict::Failed));
    match report.passed() {
        true => Ok(()),
        false => Err(Error::failed(format!("{}: {wrong} wrong, {failed} failed", report.device))),
    }
}

fn summary(report: &Report) -> String {
    let (ok, not_run) = (report.count(Verdict::Ok), report.count(Verdict::NotRun));
    let launches = report.launches.iter().map(|(form, n)| format!(", {n} launches a step ({form})"));
    let launches: String = launches.collect();
    format!(
        "{}: {ok} of {} ok, {not_run} not run{launches}, {:.1} s",
        report.device,
        report.all().count(),
        report.seconds
    )
}
