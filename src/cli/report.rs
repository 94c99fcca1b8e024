//! `rewarm report`: the curves of runs, side by side, on a page that needs nothing else; or as CSV, or live.
use crate::console::{note, print};
use crate::files::write_whole;
use crate::report::{Cells, Live, RunLog, Server, Story, Told};
use crate::stop::{self, Idle};
use crate::{Error, Result};
use std::path::{Path, PathBuf};

/// Where `--serve` listens unless it is told.
const ADDRESS: &str = "127.0.0.1:8137";

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
    /// Follow the runs on a live page instead, for browsers of this machine or at HOST:PORT [default: 127.0.0.1:8137]
    #[arg(long, value_name = "ADDR", num_args = 0..=1, default_missing_value = ADDRESS, value_parser = address)]
    #[arg(conflicts_with_all = ["output", "csv"])]
    serve: Option<String>,
}

/// Runs the command.
pub fn run(args: &ReportArgs) -> Result<()> {
    let title = args.runs.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(", ");
    if let Some(address) = &args.serve {
        return serve(&title, &args.runs, address);
    }
    let mut runs: Vec<(String, PathBuf)> = Vec::new();
    for path in &args.runs {
        match cells(path)? {
            Some(cells) => runs.extend(cells),
            None => runs.push((path.display().to_string(), path.clone())),
        }
    }
    refuse_twice(&runs, |(name, _)| name.clone())?;
    if args.csv {
        return print(&csv(&runs)?);
    }
    write_page(&title, &runs, &args.output)
}

fn refuse_twice<T: PartialEq>(list: &[T], name: impl Fn(&T) -> String) -> Result<()> {
    match list.iter().enumerate().find(|(i, one)| list[..*i].contains(one)) {
        Some((_, one)) => Err(Error::refused(format!("{} is named twice; name each run once", name(one)))),
        None => Ok(()),
    }
}

/// Follows runs until the process is stopped.
fn serve(title: &str, runs: &[PathBuf], address: &str) -> Result<()> {
    refuse_twice(runs, |path| path.display().to_string())?;
    let live = Live::new(title, runs)?;
    let count = live.runs();
    let server = Server::bind(address, live)?;
    stop::listen(Idle { code: Some(3), message: "the page is no longer served; runs go on" }, None)?;
    let at = server.address();
    if !at.ip().is_loopback() {
        note(&format!("warning: whoever reaches {at} can read these runs"));
    }
    note(&format!("{count} runs are followed until Ctrl-C"));
    print(&format!("http://{at}/"))?;
    server.run()
}

/// HOST:PORT, or a port of this machine.
fn address(text: &str) -> Result<String, String> {
    if text.parse::<u16>().is_ok() {
        return Ok(format!("127.0.0.1:{text}"));
    }
    match text.rsplit_once(':') {
        Some((host, port)) if !host.is_empty() && port.parse::<u16>().is_ok() => Ok(text.into()),
        _ => Err(format!("expected HOST:PORT or a port, as in {ADDRESS}; runs stand before --serve")),
    }
}

fn write_page(title: &str, runs: &[(String, PathBuf)], output: &Path) -> Result<()> {
    let told = runs.iter().map(|(name, dir)| Told::of(name, dir, &RunLog::read(dir)?));
    let told = told.collect::<Result<Vec<_>>>()?;
    let html = Story::of_runs(title, &told.iter().collect::<Vec<_>>()).to_html()?;
    write_whole(output, html.as_bytes())?;
    note(&format!("{}: {} runs, {} bytes", output.display(), runs.len(), html.len()));
    Ok(())
}

/// The runs of a study; none where it is none. Those without a log are left out, and said.
fn cells(path: &Path) -> Result<Option<Vec<(String, PathBuf)>>> {
    let Some(cells) = Cells::of(path)? else { return Ok(None) };
    cells.without_log.iter().for_each(|dir| note(&format!("left out: {} has no log", dir.display())));
    if cells.with_log.is_empty() {
        return Err(Error::refused(format!("no run in {} has a log yet", path.join("cells").display())));
    }
    Ok(Some(cells.with_log))
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
