//! Compiles `kernels/*.cu` twice: with the C++ compiler into the library (feature `emulation`), and with nvcc
//! into one fat binary each. Neither compiler is required: what is missing is one warning, and an error of the
//! device that would have needed it. An object is rebuilt when its source, a header or this file is newer.
use std::env::{self, var};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::{fs, thread};

/// What the program is made of.
const SOURCES: [&str; 5] = ["src", "kernels", "build.rs", "Cargo.toml", "Cargo.lock"];

fn main() {
    let out = PathBuf::from(var("OUT_DIR").unwrap());
    println!("cargo::rerun-if-changed=kernels");
    println!("cargo::rerun-if-changed=build.rs");
    commit();
    println!("cargo::rustc-check-cfg=cfg(emulated_kernels, sanitized)");
    let mut sources = files("cu");
    sources.sort();
    match host(&sources, &out) {
        Ok(()) => println!("cargo::rustc-cfg=emulated_kernels"),
        Err(why) => {
            println!("cargo::rustc-env=REWARM_NO_EMULATION={why}");
            if var("CARGO_FEATURE_EMULATION").is_ok() {
                println!("cargo::warning=no emulated device: {why}");
            }
        }
    }
    gpu(&sources, &out);
}

/// `REWARM_COMMIT`, which records of measurements carry: what the builder says, else the commit of this checkout, else
/// nothing.
fn commit() {
    println!("cargo::rerun-if-env-changed=REWARM_COMMIT");
    let named = var("REWARM_COMMIT").ok().filter(|named| !named.is_empty());
    println!("cargo::rustc-env=REWARM_COMMIT={}", named.or_else(checkout).unwrap_or_default());
}

/// HEAD, with `-dirty` where [`SOURCES`] differ from it. None without git, or where the folder is no checkout.
fn checkout() -> Option<String> {
    let git = |args: &[&str]| {
        let out = Command::new("git").args(args).stderr(Stdio::null()).output().ok()?;
        out.status.success().then(|| String::from_utf8_lossy(&out.stdout).into_owned())
    };
    // HEAD changes with the branch, its log with every commit.
    let found =
        git(&["rev-parse", "--show-prefix", "HEAD", "--git-path", "HEAD", "--git-path", "logs/HEAD"])?;
    let [prefix, head, watched @ ..] = &found.lines().collect::<Vec<_>>()[..] else { return None };
    if !prefix.is_empty() {
        return None; // an archive that was unpacked inside of another checkout
    }
    // A file that is missing would start this program again in every build.
    let watched = watched.iter().chain(&SOURCES).filter(|path| Path::new(path).exists());
    watched.for_each(|path| println!("cargo::rerun-if-changed={path}"));
    let status = ["--no-optional-locks", "status", "--porcelain", "--"];
    let changes = git(&[&status[..], &SOURCES].concat())?;
    Some(format!("{head}{}", if changes.is_empty() { "" } else { "-dirty" }))
}

/// Every kernel as C++, in a namespace of its own, with a table that keeps the linker from dropping it.
fn host(sources: &[PathBuf], out: &Path) -> Result<(), String> {
    if var("CARGO_FEATURE_EMULATION").is_err() {
        return Err("built without the cargo feature `emulation`".into());
    }
    let mut build = cc::Build::new();
    build.cargo_warnings(false).cpp(true).std("c++17").opt_level(2).warnings(true).include("kernels");
    build.flag("-ffp-contract=off").flag("-fno-strict-aliasing");
    build.flag(format!("-ffile-prefix-map={}/=", var("CARGO_MANIFEST_DIR").unwrap()));
    build.flag_if_supported("-ftrivial-auto-var-init=pattern");
    let missing = |e: cc::Error| format!("it needs a C++17 compiler (c++, or CXX): {e}").replace('\n', " ");
    let compiler = build.try_get_compiler().map_err(missing)?;
    probe(&compiler, out)?;
    // For tools/sanitize.sh, which compiles the same once more.
    let flags: String = compiler.args().iter().map(|flag| format!("{}\n", flag.to_string_lossy())).collect();
    write_if_changed(&out.join("flags"), &flags);
    let root = env::current_dir().unwrap();
    let (mut jobs, mut anchors) = (vec![(root.join("kernels/emu.cc"), out.join("emu.o"))], String::new());
    for source in sources {
        let (stem, wrapper) = (stem(source), out.join(format!("{}.cc", stem(source))));
        let text = format!(
            "#include \"prim.h\"\nnamespace kernels_{stem} {{\n#include \"{}\"\n}}\nint emu_anchor_{stem} = 0;\n",
            root.join(source).display()
        );
        write_if_changed(&wrapper, &text);
        anchors += &format!("extern int emu_anchor_{stem};\nint* emu_keep_{stem} = &emu_anchor_{stem};\n");
        jobs.push((wrapper, out.join(format!("{stem}.o"))));
    }
    anchors += "extern \"C\" void emu_keep() {}\n";
    write_if_changed(&out.join("table.cc"), &anchors);
    jobs.push((out.join("table.cc"), out.join("table.o")));
    parallel(&jobs, |(from, to)| {
        let source = sources.iter().find(|s| stem(s) == stem(from));
        if newer(to, source.into_iter().chain([from])) {
            return Ok(());
        }
        let mut command = compiler.to_command();
        command.arg("-c").arg(from).arg("-o").arg(to);
        run(command, to)
    })?;
    let mut archive = cc::Build::new();
    archive
        .cargo_warnings(false)
        .cpp(true)
        .objects(jobs.iter().map(|j| &j.1))
        .try_compile("rewarm_kernels")
        .map_err(missing)?;
    Ok(())
}

/// Whether the compiler starts, has a standard library and knows C++17: a tool that does not is missing, whereas an
/// error in a kernel is one of the build.
fn probe(compiler: &cc::Tool, out: &Path) -> Result<(), String> {
    let source = out.join("probe.cc");
    write_if_changed(&source, "#include <vector>\nstatic_assert(__cplusplus >= 201703L, \"C++17\");\n");
    let mut command = compiler.to_command();
    command.arg("-c").arg(source).arg("-o").arg(out.join("probe.o"));
    let why = match command.output() {
        Ok(o) if o.status.success() => return Ok(()),
        Ok(o) => format!("{} {}", o.status, String::from_utf8_lossy(&o.stderr).lines().next().unwrap_or("")),
        Err(e) => e.to_string(),
    };
    let name = compiler.path().display();
    Err(format!("it needs a C++17 compiler (c++, or CXX), {name} cannot be used: {why}"))
}

/// `fatbins.rs`: the name and the bytes of every fat binary, empty without nvcc.
fn gpu(sources: &[PathBuf], out: &Path) {
    ["NVCC", "CUDA_HOME", "PATH"].iter().for_each(|v| println!("cargo::rerun-if-env-changed={v}"));
    let nvcc = nvcc();
    let mut flags =
        vec!["-std=c++17".to_string(), "-O3".into(), "-fatbin".into(), "-Xfatbin=-compress-all".into()];
    // Lines of the source for NVIDIA's tools; the machine code is the same.
    flags.push("-lineinfo".into());
    match &nvcc {
        Some((nvcc, (major, minor))) => {
            println!("cargo::rustc-env=REWARM_NVCC_VERSION={major}.{minor}");
            let known =
                Command::new(nvcc).arg("--list-gpu-code").output().map(|o| o.stdout).unwrap_or_default();
            let known = String::from_utf8_lossy(&known).into_owned();
            for arch in ["80", "90", "100"].iter().filter(|a| known.lines().any(|k| k == format!("sm_{a}"))) {
                flags.push(format!("-gencode=arch=compute_{arch},code=sm_{arch}"));
            }
            flags.push("-gencode=arch=compute_80,code=compute_80".into());
            let codes = flags.iter().filter_map(|f| f.split(",code=").nth(1)).collect::<Vec<_>>();
            println!("cargo::rustc-env=REWARM_CUDA_ARCHS={}", codes.join(" "));
        }
        None => {
            println!("cargo::warning=no nvcc >= 12.4 found: built without kernels for GPUs (tools/nvcc.sh)")
        }
    }
    let changed = write_if_changed(&out.join("nvcc.txt"), &format!("{nvcc:?} {flags:?}"));
    let nvcc = nvcc.map(|(path, _)| path);
    let jobs: Vec<_> = sources.iter().map(|s| (s.clone(), out.join(format!("{}.fatbin", stem(s))))).collect();
    let built = parallel(&jobs, |(from, to)| match &nvcc {
        None => fs::write(to, []).map_err(|e| e.to_string()),
        Some(_) if !changed && newer(to, [from]) => Ok(()),
        Some(nvcc) => {
            let mut command = Command::new(nvcc);
            command.args(&flags).arg(from).arg("-o").arg(to);
            run(command, to)
        }
    });
    built.unwrap_or_else(|why| panic!("{why}"));
    let entry = |j: &(PathBuf, PathBuf)| format!("    (\"{}\", include_bytes!({:?})),\n", stem(&j.0), j.1);
    let table: String = jobs.iter().map(entry).collect();
    write_if_changed(&out.join("fatbins.rs"), &format!("&[\n{table}]\n"));
}

/// The nvcc that the user named, which must work, or one that is there and new enough; and its version.
fn nvcc() -> Option<(PathBuf, (u32, u32))> {
    let version = |nvcc: &Path| {
        let out = Command::new(nvcc).arg("--version").stderr(Stdio::null()).output().ok()?;
        let text = String::from_utf8_lossy(&out.stdout).into_owned();
        let mut parts =
            text.split("release ").nth(1)?.split(',').next()?.split('.').map(|p| p.parse::<u32>().ok());
        Some((parts.next()??, parts.next()??))
    };
    let new_enough = |nvcc: PathBuf| version(&nvcc).filter(|v| *v >= (12, 4)).map(|v| (nvcc, v));
    match var("NVCC").ok().filter(|n| !n.is_empty()) {
        Some(named) if named == "none" => None,
        Some(named) => {
            let found = new_enough(PathBuf::from(&named));
            assert!(found.is_some(), "NVCC={named}: not an nvcc of 12.4 or later");
            found
        }
        None => {
            let home = var("CUDA_HOME").ok().map(|h| PathBuf::from(h).join("bin/nvcc"));
            home.into_iter().chain(["nvcc".into(), "/usr/local/cuda/bin/nvcc".into()]).find_map(new_enough)
        }
    }
}

fn files(extension: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir("kernels").expect("kernels/ is part of the package");
    entries.map(|e| e.unwrap().path()).filter(|p| p.extension().is_some_and(|e| e == extension)).collect()
}

fn stem(path: &Path) -> String {
    path.file_stem().unwrap().to_string_lossy().into_owned()
}

/// Whether `to` is newer than `from`, every header and this program.
fn newer<'a>(to: &Path, from: impl IntoIterator<Item = &'a PathBuf>) -> bool {
    let time = |p: &Path| fs::metadata(p).and_then(|m| m.modified()).ok();
    let own = env::current_exe().unwrap();
    let mut inputs = from.into_iter().cloned().chain(files("h")).chain([own]);
    time(to).is_some_and(|built| inputs.all(|i| time(&i).is_some_and(|t| t < built)))
}

fn write_if_changed(path: &Path, text: &str) -> bool {
    let changed = fs::read_to_string(path).ok().as_deref() != Some(text);
    if changed {
        fs::write(path, text).unwrap();
    }
    changed
}

/// An error where the compiler cannot be started. What it says about a kernel ends the build; no half-written
/// object stays.
fn run(mut command: Command, to: &Path) -> Result<(), String> {
    let program = command.get_program().to_os_string();
    let out = command.output().map_err(|e| format!("cannot start {program:?}: {e}"))?;
    if out.status.success() {
        return Ok(());
    }
    let _ = fs::remove_file(to);
    // Not the command as Debug has it, which begins with the whole environment.
    let args: Vec<_> = command.get_args().map(|a| a.to_string_lossy()).collect();
    panic!("{program:?} {} failed\n{}", args.join(" "), String::from_utf8_lossy(&out.stderr));
}

/// Two at a time.
fn parallel<J: Sync>(jobs: &[J], work: impl Fn(&J) -> Result<(), String> + Sync) -> Result<(), String> {
    let half = |first| jobs.iter().skip(first).step_by(2).try_for_each(&work);
    thread::scope(|s| {
        let other = s.spawn(|| half(1));
        half(0).and(other.join().unwrap_or_else(|p| std::panic::resume_unwind(p)))
    })
}
