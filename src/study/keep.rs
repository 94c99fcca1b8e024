//! What a study leaves in its directory: `study.json`, and the page of its runs.
use std::path::PathBuf;

use super::findings::Findings;
use super::plan::StudyPlan;
use crate::checkpoint::LOG;
use crate::files::write_whole;
use crate::report::{RunLog, Story, Told};
use crate::{Error, Result};

/// Writes both. Where the page is; none where no run has a log yet.
pub fn keep(plan: &StudyPlan, findings: &Findings) -> Result<Option<PathBuf>> {
    let path = plan.dir.join("study.json");
    let text = serde_json::to_string_pretty(findings)
        .map_err(|e| Error::failed(format!("{}: {e}", path.display())))?;
    write_whole(&path, (text + "\n").as_bytes())?;
    let mut told = Vec::new();
    for run in plan.cells.iter().filter(|run| run.config.run_dir.join(LOG).exists()) {
        let log = RunLog::read(&run.config.run_dir)?;
        // Another process may have begun it just now.
        if !log.is_empty() {
            told.push(Told::of(&run.name, &run.config.run_dir, &log)?);
        }
    }
    if told.is_empty() {
        return Ok(None);
    }
    let page = plan.dir.join("report.html");
    let told: Vec<&Told> = told.iter().collect();
    let html = Story::of_runs(&plan.dir.display().to_string(), &told).to_html()?;
    write_whole(&page, html.as_bytes())?;
    Ok(Some(page))
}
