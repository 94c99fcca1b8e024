//! What a study leaves in its directory: `study.json`, and the page of its runs.
use std::path::{Path, PathBuf};

use super::findings::Findings;
use super::plan::StudyPlan;
use crate::checkpoint::LOG;
use crate::files::write_whole;
use crate::report::Story;
use crate::{Error, Result};

/// Writes both. Where the page is; none where no run has a log yet.
pub fn keep(plan: &StudyPlan, findings: &Findings) -> Result<Option<PathBuf>> {
    let path = plan.dir.join("study.json");
    let text = serde_json::to_string_pretty(findings)
        .map_err(|e| Error::failed(format!("{}: {e}", path.display())))?;
    write_whole(&path, (text + "\n").as_bytes())?;
    let runs = plan.cells.iter().map(|run| (run.name.clone(), run.config.run_dir.as_path()));
    let runs: Vec<(String, &Path)> = runs.filter(|(_, dir)| dir.join(LOG).exists()).collect();
    if runs.is_empty() {
        return Ok(None);
    }
    let page = plan.dir.join("report.html");
    let html = Story::of_runs(&plan.dir.display().to_string(), &runs)?.to_html()?;
    write_whole(&page, html.as_bytes())?;
    Ok(Some(page))
}
