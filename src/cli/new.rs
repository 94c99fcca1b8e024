//! `rewarm new`: a configuration to begin with.
use crate::console::print;
use crate::files::write_new;
use crate::stop::shell_word;
use crate::{Error, Result};
use std::path::PathBuf;

/// Files of `examples/recipes`, by name.
const RECIPES: [(&str, &str); 9] = [
    ("continue", include_str!("../../examples/recipes/continue.toml")),
    ("gupta2023", include_str!("../../examples/recipes/gupta2023.toml")),
    ("replay5", include_str!("../../examples/recipes/replay5.toml")),
    ("replay25", include_str!("../../examples/recipes/replay25.toml")),
    ("infinite", include_str!("../../examples/recipes/infinite.toml")),
    ("wsd", include_str!("../../examples/recipes/wsd.toml")),
    ("curriculum", include_str!("../../examples/recipes/curriculum.toml")),
    ("stability_gap", include_str!("../../examples/recipes/stability_gap.toml")),
    ("minicpm", include_str!("../../examples/recipes/minicpm.toml")),
];

/// Arguments of `rewarm new`.
#[derive(Debug, clap::Args)]
pub struct NewArgs {
    /// Which [default: say what there is]
    recipe: Option<String>,
    /// Where to write run.toml; made where it is missing
    #[arg(default_value = ".")]
    dir: PathBuf,
}

/// Runs the command.
pub fn run(args: &NewArgs) -> Result<()> {
    let Some(name) = &args.recipe else { return print(&listed()) };
    let Some((_, text)) = RECIPES.iter().find(|(known, _)| known == name) else {
        let near = |known: &&(&str, &str)| (1e6 * strsim::jaro_winkler(known.0, name)) as u64;
        let nearest = RECIPES.iter().max_by_key(near).map_or("", |recipe| recipe.0);
        let names = RECIPES.map(|recipe| recipe.0).join(", ");
        return Err(Error::refused(format!(
            "there is no recipe {name:?}; nearest is {nearest}, choose one of {names}"
        )));
    };
    std::fs::create_dir_all(&args.dir).map_err(Error::input("create", &args.dir))?;
    let path = args.dir.join("run.toml");
    write_new(&path, text.as_bytes())?;
    print(&format!(
        "{}: look through it, then `rewarm plan {1}` and `rewarm train {1}`\n",
        path.display(),
        shell_word(&path)
    ))
}

/// Each with the first sentence of what it says of itself.
fn listed() -> String {
    let first =
        |text: &str| text.lines().next().and_then(|line| line.strip_prefix("# ")).unwrap_or("").to_owned();
    let line = |(name, text): &(&str, &str)| format!("{name:13}  {}\n", first(text));
    RECIPES.iter().map(line).collect::<String>() + "\n`rewarm new NAME DIR` writes DIR/run.toml\n"
}
