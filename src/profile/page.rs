//! The report of a profile: one HTML file.
use super::{Profile, Table, picture};
use crate::bench::Machine;
use crate::report::{Page, origin};
use serde_json::Value;

/// Tables and drawings; the timeline is that of the median step.
pub fn page(profile: &Profile, table: &Table, machine: &Machine, settings: &Value) -> String {
    let mut page = Page::new("Where the time of a training step goes");
    let [plain, profiled] = table.plain_and_profiled_s.map(|s| s * 1e3);
    page.lead(&format!(
        "{} steps of {}. The median step took {:.3} ms on the clock of the device; on the host {plain:.3} ms plain and \
         {profiled:.3} ms profiled.",
        table.steps,
        settings["model"].as_str().unwrap_or("a model"),
        table.step_s * 1e3
    ));
    let command: Vec<String> = std::env::args().collect();
    let mut facts = vec![("command", command.join(" "))];
    let of_settings = settings.as_object().into_iter().flatten();
    facts.extend(of_settings.map(|(key, value)| (key.as_str(), value.to_string().replace('"', ""))));
    facts.extend(origin(machine));
    page.facts(&facts);
    page.section("One step");
    let middle = profile.steps.iter().min_by(|a, b| {
        let distance = |seconds: f64| (seconds - table.step_s).abs();
        distance(a.seconds).total_cmp(&distance(b.seconds))
    });
    if let Some(step) = middle {
        page.paragraph(
            "Phases, blocks and operations over time; bars too narrow for their name have it in a tooltip.",
        );
        page.svg(&picture::timeline(step), "nested bars of phases, blocks and operations of one step");
    }
    page.section("Roofline");
    page.paragraph(&format!(
        "Work per second over work per byte, by what each operation must move and compute at least; the area of a circle \
         is its share of the step, the number behind its name. The roof is {:.1} GB/s of a copy and {:.1} GFLOP/s of a matrix product, measured in the \
         same call. What fits into a cache can lie above its slope.",
        table.ceilings.copy_bytes_per_s / 1e9,
        table.ceilings.matmul_flops_per_s / 1e9
    ));
    page.svg(&picture::roofline(table), "operations under the roofline");
    page.section("Operations");
    let heads = ["operation", "calls", "ms a step", "share", "µs a call", "GB/s", "GFLOP/s", "of roofline"];
    let rows = table.rows.iter().map(|r| {
        vec![
            r.name.clone(),
            r.calls_per_step.to_string(),
            format!("{:.3}", r.total_s * 1e3),
            format!("{:.1} %", r.share * 1e2),
            format!("{:.1}", r.mean_s * 1e6),
            format!("{:.1}", r.gb_per_s),
            format!("{:.1}", r.gflop_per_s),
            format!("{:.1} %", r.share_of_roofline * 1e2),
        ]
    });
    let gaps = ["(between operations)", "", &format!("{:.3}", table.gaps_s * 1e3)].map(str::to_owned);
    let share = format!("{:.1} %", table.gaps_share * 1e2);
    let gaps = gaps.into_iter().chain([share]).chain(std::iter::repeat_n(String::new(), 4)).collect();
    page.table(&heads, &rows.chain([gaps]).collect::<Vec<_>>());
    if !table.launches.is_empty() {
        page.section("Launches");
        let row = |r: &super::Row| {
            let numbers = [r.total_s * 1e3, r.share * 1e2, r.mean_s * 1e6].map(|x| format!("{x:.3}"));
            [vec![r.name.clone(), r.calls_per_step.to_string()], numbers.to_vec()].concat()
        };
        let heads = ["launch", "calls", "ms a step", "% of the step", "µs a call"];
        page.table(&heads, &table.launches.iter().map(row).collect::<Vec<_>>());
    }
    page.to_html()
}
