//! The house stands as docs/architecture.md says: a folder uses floors below its own, no two files use each other, and
//! what the pages link to is there.
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use syn::visit::Visit;
use syn::{Attribute, Item, ItemMod, ItemUse, UseTree};
use walkdir::{DirEntry, WalkDir};

/// From the ground up. What stands on one floor does not use each other.
const FLOORS: &[&[&str]] = &[
    &["error"],
    &["console", "files", "machine", "random"],
    &["stop", "ops", "schedule"],
    &["hub"],
    &["model", "device"],
    &["optim", "data", "reference"],
    &["backend", "checkpoint"],
    &["config", "average", "edit", "doctor"],
    &["perf", "train"],
    &["generate", "selftest"],
    &["bench"],
    &["report"],
    &["profile", "study"],
    &["demo"],
    &["cli"],
];

type Module = Vec<String>;

/// A file's module, and the paths that it uses outside of its tests, as they are written.
struct SourceFile {
    module: Module,
    uses: Vec<Vec<String>>,
    exports: Vec<Vec<String>>,
}

fn module_of(file: &Path) -> Module {
    let mut parts: Module =
        file.with_extension("").iter().map(|p| p.to_string_lossy().into_owned()).collect();
    if parts.last().is_some_and(|last| last == "mod" || last == "lib") {
        parts.pop();
    }
    parts
}

fn is_test(attributes: &[Attribute]) -> bool {
    attributes
        .iter()
        .any(|a| a.path().is_ident("cfg") && a.parse_args::<syn::Path>().is_ok_and(|p| p.is_ident("test")))
}

/// Every path of a `use`, without renaming.
fn flatten(tree: &UseTree, mut path: Vec<String>, found: &mut Vec<Vec<String>>) {
    match tree {
        UseTree::Path(p) => {
            path.push(p.ident.to_string());
            flatten(&p.tree, path, found);
        }
        UseTree::Group(group) => group.items.iter().for_each(|item| flatten(item, path.clone(), found)),
        UseTree::Name(name) => found.push([path, vec![name.ident.to_string()]].concat()),
        UseTree::Rename(name) => found.push([path, vec![name.ident.to_string()]].concat()),
        UseTree::Glob(_) => found.push(path),
    }
}

impl<'ast> Visit<'ast> for SourceFile {
    fn visit_item_mod(&mut self, item: &'ast ItemMod) {
        if !is_test(&item.attrs) {
            syn::visit::visit_item_mod(self, item);
        }
    }

    fn visit_item_use(&mut self, item: &'ast ItemUse) {
        let exported = !matches!(item.vis, syn::Visibility::Inherited);
        flatten(&item.tree, Vec::new(), if exported { &mut self.exports } else { &mut self.uses });
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        // One word is a name of the file itself, or was imported.
        if path.segments.len() > 1 {
            self.uses.push(path.segments.iter().map(|s| s.ident.to_string()).collect());
        }
        syn::visit::visit_path(self, path);
    }
}

/// All files of `src/` but those of tests.
fn sources() -> Vec<SourceFile> {
    let mut sources = Vec::new();
    for entry in WalkDir::new("src").into_iter().map(Result::unwrap) {
        let file = entry.path().strip_prefix("src").unwrap();
        let of_tests = file.iter().any(|part| part == "tests") || file.ends_with("tests.rs");
        if file.extension().is_none_or(|e| e != "rs") || of_tests || file == Path::new("main.rs") {
            continue;
        }
        let syntax = syn::parse_file(&fs::read_to_string(entry.path()).unwrap()).unwrap();
        let mut source = SourceFile { module: module_of(file), uses: Vec::new(), exports: Vec::new() };
        syntax
            .items
            .iter()
            .filter(|item| !matches!(item, Item::Macro(_)))
            .for_each(|item| source.visit_item(item));
        sources.push(source);
    }
    sources
}

/// What a path leads to: the innermost module, through what other modules export.
struct Map {
    modules: BTreeSet<Module>,
    exports: BTreeMap<(Module, String), Vec<String>>,
}

impl Map {
    fn of(sources: &[SourceFile]) -> Self {
        let modules = sources.iter().map(|s| s.module.clone()).collect();
        let mut map = Self { modules, exports: BTreeMap::new() };
        for source in sources {
            for path in &source.exports {
                if let (Some(name), Some(full)) = (path.last(), map.absolute(&source.module, path)) {
                    map.exports.insert((source.module.clone(), name.clone()), full);
                }
            }
        }
        map
    }

    /// From the root of the crate; none: another crate's, or a name of the file itself.
    fn absolute(&self, module: &Module, path: &[String]) -> Option<Vec<String>> {
        let supers = path.iter().take_while(|part| *part == "super").count();
        let child = [module.as_slice(), &path[..1]].concat();
        match path[0].as_str() {
            "crate" => Some(path[1..].to_vec()),
            "self" => Some([module, &path[1..]].concat()),
            "super" => Some([&module[..module.len() - supers], &path[supers..]].concat()),
            _ => self.modules.contains(&child).then(|| [module, path].concat()),
        }
    }

    fn target(&self, path: &[String]) -> Option<Module> {
        let depth = (0..=path.len()).rev().find(|&n| self.modules.contains(&path[..n]))?;
        let module = path[..depth].to_vec();
        let exported = path.get(depth).and_then(|name| self.exports.get(&(module.clone(), name.clone())));
        match exported {
            Some(full) => self.target(&[full, &path[depth + 1..]].concat()),
            None => Some(module),
        }
    }

    /// Which module uses which other.
    fn arrows(&self, sources: &[SourceFile]) -> BTreeMap<Module, BTreeSet<Module>> {
        let of = |source: &SourceFile| {
            let targets =
                source.uses.iter().filter_map(|path| self.target(&self.absolute(&source.module, path)?));
            targets.filter(|target| *target != source.module && !target.is_empty()).collect()
        };
        sources.iter().map(|source| (source.module.clone(), of(source))).collect()
    }
}

fn arrows() -> BTreeMap<Module, BTreeSet<Module>> {
    let sources = sources();
    Map::of(&sources).arrows(&sources)
}

#[test]
fn folders_use_lower_floors_only() {
    let floor = |folder: &str| FLOORS.iter().position(|names| names.contains(&folder));
    let mut wrong = BTreeSet::new();
    for (from, targets) in arrows().iter().filter(|(from, _)| !from.is_empty()) {
        for to in targets.iter().filter(|to| to[0] != from[0]) {
            let (high, low) = (floor(&from[0]), floor(&to[0]));
            assert!(high.is_some() && low.is_some(), "src/{} or src/{} has no floor", from[0], to[0]);
            if low >= high {
                wrong.insert(format!("{} uses {}", from.join("/"), to.join("/")));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// Everything that a module leads to.
fn reached<'a>(from: &'a Module, arrows: &'a BTreeMap<Module, BTreeSet<Module>>) -> BTreeSet<&'a Module> {
    let (mut found, mut next) = (BTreeSet::new(), vec![from]);
    while let Some(module) = next.pop() {
        next.extend(arrows[module].iter().filter(|target| found.insert(*target)));
    }
    found
}

#[test]
fn no_files_use_each_other() {
    let arrows = arrows();
    let reached: BTreeMap<&Module, _> =
        arrows.keys().map(|module| (module, reached(module, &arrows))).collect();
    let circles: BTreeSet<Vec<String>> = arrows
        .keys()
        .map(|module| {
            let back = reached[module].iter().filter(|other| reached[*other].contains(module));
            back.map(|other| other.join("/")).collect()
        })
        .filter(|circle: &Vec<String>| !circle.is_empty())
        .collect();
    assert!(circles.is_empty(), "{circles:#?}");
}

/// The pages of the repository, those of what it installs or builds left out.
fn pages() -> impl Iterator<Item = PathBuf> {
    let ours = |entry: &DirEntry| {
        let name = entry.file_name();
        entry.depth() == 0
            || !(name == "target" || name == "vendor" || name.as_encoded_bytes().starts_with(b"."))
    };
    let files = WalkDir::new(".").into_iter().filter_entry(ours).map(|entry| entry.unwrap().into_path());
    files.filter(|path| path.extension().is_some_and(|e| e == "md"))
}

#[test]
fn links_of_the_pages_lead_to_files() {
    let (mut links, mut dead) = (0, BTreeSet::new());
    for page in pages() {
        let text = fs::read_to_string(&page).unwrap();
        for rest in text.split("](").skip(1) {
            let target = rest.split([')', '#', ' ']).next().unwrap_or_default();
            if !target.is_empty() && !target.contains(':') {
                links += 1;
                let file = page.parent().unwrap().join(target);
                dead.extend((!file.exists()).then(|| format!("{}: {target}", page.display())));
            }
        }
    }
    assert!(links > 100 && dead.is_empty(), "{links} links, dead ones: {dead:#?}");
}

/// What the library has to say goes through `log`, for whoever listens: only the program writes on stdout and stderr, and
/// the end of a process by a signal. (`reference` judges inside of tests.)
#[test]
fn only_the_program_prints() {
    let prints = ["src/cli", "src/main.rs", "src/console.rs", "src/stop.rs", "src/reference"];
    let mut loud = Vec::new();
    let files = WalkDir::new("src").into_iter().map(|entry| entry.unwrap().into_path());
    for file in files.filter(|file| file.extension().is_some_and(|e| e == "rs")) {
        let text = fs::read_to_string(&file).unwrap();
        let code = text.split("#[cfg(test)]").next().unwrap_or_default();
        let code: String = code.lines().filter(|line| !line.trim_start().starts_with("//")).collect();
        let found = ["console::", "println!(", "print!("].iter().find(|word| code.contains(**word));
        if let Some(word) = found.filter(|_| !prints.iter().any(|place| file.starts_with(place))) {
            loud.push(format!("{}: {word}", file.display()));
        }
    }
    assert!(loud.is_empty(), "{loud:#?}");
}
