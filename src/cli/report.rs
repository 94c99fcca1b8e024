//! `rewarm report`: the curves of runs, side by side, on a page that needs nothing else; or as CSV.
use crate::console::{note, print};
use crate::files::write_whole;
use crate::report::{RunLog, Story};
use crate::{Error, Result};
use std::path::{Path, PathBuf};

/// Arguments of `rewarm report`.
#[derive(Debug, clap::Args)]
pub struct ReportArgs {
    /// Run directories, or the directory of a study, whose runs are meant
    #[arg(required = true)]
    runs: Vec<PathBuf>,
    /// Where the page is written; one that is there is replaced
    #[arg(short, long, value_name = "FILE", default_value = "report.html")]
    output: PathBuf,
    /// Print the logs as CSV instead: run, step, tokens, time, set (empty for training), loss, lr, grad_norm
    #[arg(long, conflicts_with = "output")]
    csv: bool,
}

/// Runs the command.
pub fn run(args: &ReportArgs) -> Result<()> {
    let mut runs: Vec<(String, PathBuf)> = Vec::new();
    for path in &args.runs {
        match cells(path)? {
            Some(cells) => runs.extend(cells),
            None => runs.push((path.display().to_string(), path.clone())),
        }
    }
    if let Some((name, _)) =
        runs.iter().enumerate().find(|(i, run)| runs[..*i].contains(run)).map(|(_, run)| run)
    {
        return Err(Error::refused(format!("{name} is named twice; name each run once")));
    }
    if args.csv {
        return print(&csv(&runs)?);
    }
    let title = args.runs.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(", ");
    write_page(&title, &runs, &args.output)
}

fn write_page(title: &str, runs: &[(String, PathBuf)], output: &Path) -> Result<()> {
    let named: Vec<(String, &Path)> = runs.iter().map(|(name, dir)| (name.clone(), dir.as_path())).collect();
    let html = Story::of_runs(title, &named)?.to_html()?;
    write_whole(output, html.as_bytes())?;
    note(&format!("{}: {} runs, {} bytes", output.display(), runs.len(), html.len()));
    Ok(())
}

/// The runs of a study; none where it is none. Those without a log are left out, and said.
fn cells(path: &Path) -> Result<Option<Vec<(String, PathBuf)>>> {
    let cells = path.join("cells");
    if !cells.is_dir() {
        return Ok(None);
    }
    let list = std::fs::read_dir(&cells).and_then(|entries| entries.collect::<std::io::Result<Vec<_>>>());
    let mut dirs: Vec<PathBuf> =
        list.map_err(Error::input("list", &cells))?.iter().map(|e| e.path()).collect();
    dirs.retain(|dir| dir.is_dir());
    dirs.sort();
    let (with, without): (Vec<_>, Vec<_>) =
        dirs.into_iter().partition(|dir| dir.join(crate::checkpoint::LOG).exists());
    without.iter().for_each(|dir| note(&format!("left out: {} has no log", dir.display())));
    if with.is_empty() {
        return Err(Error::refused(format!("no run in {} has a log yet", cells.display())));
    }
    let name = |dir: &PathBuf| dir.file_name().unwrap_or_default().to_string_lossy().into_owned();
    Ok(Some(with.into_iter().map(|dir| (name(&dir), dir)).collect()))
}

fn csv(runs: &[(String, PathBuf)]) -> Result<String> {
    let mut text = String::from("run,step,tokens,time,set,loss,lr,grad_norm\n");
    let shown = |x: Option<f64>| x.map_or(String::new(), |x| x.to_string());
    for (name, dir) in runs {
        let (log, name) = (RunLog::read(dir)?, quoted(name));
        let mut evals = log.evals.iter().peekable();
        // As in the log: an evaluation follows its step.
        let mut evals_until = |step: u64, text: &mut String| {
            while let Some(e) = evals.next_if(|eval| eval.step < step) {
                let (time, set) = (shown(e.time), quoted(&e.set));
                *text += &format!("{name},{},{},{time},{set},{},,\n", e.step, e.tokens, e.loss);
            }
        };
        for s in &log.steps {
            evals_until(s.step, &mut text);
            let (time, norm) = (shown(s.time), shown(s.grad_norm));
            text += &format!("{name},{},{},{time},,{},{},{norm}\n", s.step, s.tokens, s.loss, s.lr);
        }
        evals_until(u64::MAX, &mut text);
    }
    Ok(text)
}

/// A field, in quotes where it must be (RFC 4180).
fn quoted(text: &str) -> String {
    if text.contains([',', '"', '\n', '\r']) {
        format!("\"{}\"", text.replace('"', "\"\""))
    } else {
        text.into()
    }
}
