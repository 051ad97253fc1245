//! `cargo xtask fuzz [PARSER…]`: new inputs for each parser of our own, chosen by the coverage that
//! they bring (libFuzzer, on the stable toolchain).
//!
//! ```text
//! fuzz/driver, instrumented ─► one process a parser, at nice 15
//!     fuzz/seeds/PARSER ─► target/fuzz/corpus/PARSER   grows, and is gone on with by the next start
//!                          target/fuzz/found/PARSER    what made it panic, hang or grow
//! ```
//!
//! The last line of a parser is `fuzz PARSER: inputs, coverage, findings (bound 0)`; the exit code is
//! 1 if anything was found. A finding is mended, and put into `fuzz/seeds`, which every run of the
//! tests reads.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, bail, ensure};
use clap::Args;

/// Coverage of each edge and of what is compared, as libFuzzer reads it.
const INSTRUMENTATION: &str = "-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters \
    -Cllvm-args=-sanitizer-coverage-pc-table -Cllvm-args=-sanitizer-coverage-trace-compares \
    -Ccodegen-units=1";

/// What no input may take: a second is what is promised, on a machine that does nothing else.
const SECONDS_MAX: u32 = 5;

/// What no parser may have of memory, what the fuzzer itself needs included.
const MEMORY_MIB_MAX: u32 = 1024;

/// The longest input: the largest seed, and room to grow.
const INPUT_BYTES_MAX: u32 = 192 << 10;

/// What to fuzz, and for how long.
#[derive(Debug, Args)]
pub(crate) struct Fuzz {
    /// Which parsers; all if none is named
    parsers: Vec<String>,
    /// Minutes for each
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    minutes: u32,
}

/// What a fuzzer told of itself.
#[derive(Debug, Default, PartialEq, Eq)]
struct Told {
    inputs: u64,
    edges: u64,
    edges_all: u64,
}

/// Fuzzes one parser after the other.
pub(crate) fn run(what: &Fuzz) -> anyhow::Result<()> {
    let workspace = crate::workspace()?;
    let root: PathBuf = workspace.workspace_root.into();
    let place: PathBuf = workspace.target_directory.join("fuzz").into();
    let all = parsers(&root.join("fuzz/seeds"))?;
    if let Some(unknown) = what.parsers.iter().find(|name| !all.contains(name)) {
        bail!("no parser {unknown}: there are {}", all.join(", "));
    }
    let driver = build(&root, &place)?;
    let chosen = if what.parsers.is_empty() {
        &all
    } else {
        &what.parsers
    };
    let mut findings = 0;
    for parser in chosen {
        findings += fuzz(parser, what.minutes, &driver, &root, &place)?;
    }
    ensure!(
        findings == 0,
        "{findings} findings: see {}",
        place.join("found").display()
    );
    Ok(())
}

/// Every parser has its seeds.
fn parsers(seeds: &Path) -> anyhow::Result<Vec<String>> {
    let names = entries(seeds)?.into_iter();
    let names = names.filter_map(|path| Some(path.file_name()?.to_str()?.to_owned()));
    Ok(names.collect())
}

fn entries(directory: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let listed = fs::read_dir(directory).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let listed = listed.with_context(|| format!("cannot list {}", directory.display()))?;
    let mut paths: Vec<_> = listed.into_iter().map(|entry| entry.path()).collect();
    paths.sort();
    Ok(paths)
}

/// Builds the fuzzer. The target is named so that what runs during the build is not instrumented.
fn build(root: &Path, place: &Path) -> anyhow::Result<PathBuf> {
    let target = host()?;
    let status = crate::cargo()
        .args(["build", "--release", "--target", &target, "--manifest-path"])
        .arg(root.join("fuzz/driver/Cargo.toml"))
        .arg("--target-dir")
        .arg(place)
        .env("RUSTFLAGS", INSTRUMENTATION)
        .status()
        .context("cannot start cargo build")?;
    ensure!(
        status.success(),
        "cargo build of the fuzzer ended with {status}"
    );
    Ok(place.join(target).join("release/fuzz-driver"))
}

/// This machine's target, as rustc names it.
fn host() -> anyhow::Result<String> {
    let output = Command::new("rustc").arg("-vV").output();
    let output = String::from_utf8(output.context("cannot start rustc")?.stdout)?;
    let host = output.lines().find_map(|line| line.strip_prefix("host: "));
    Ok(host.context("rustc does not tell its host")?.to_owned())
}

/// Fuzzes one parser, and says how much was found.
fn fuzz(
    parser: &str,
    minutes: u32,
    driver: &Path,
    root: &Path,
    place: &Path,
) -> anyhow::Result<usize> {
    let corpus = place.join("corpus").join(parser);
    let found = place.join("found").join(parser);
    for directory in [&corpus, &found] {
        fs::create_dir_all(directory)
            .with_context(|| format!("cannot create {}", directory.display()))?;
    }
    let mut child = Command::new("nice")
        .args(["-n", "15"])
        .arg(driver)
        .args([&corpus, &root.join("fuzz/seeds").join(parser)])
        .arg(format!("-max_total_time={}", u64::from(minutes) * 60))
        .arg(format!("-timeout={SECONDS_MAX}"))
        .arg(format!("-rss_limit_mb={MEMORY_MIB_MAX}"))
        .arg(format!("-max_len={INPUT_BYTES_MAX}"))
        .arg(format!("-artifact_prefix={}/", found.display()))
        .arg("-print_final_stats=1")
        .env("VARDOGER_FUZZ", parser)
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot start nice and {}", driver.display()))?;
    let said = child.stderr.take().context("a fuzzer has no output")?;
    let mut told = Told::default();
    let mut last = Vec::new();
    for line in BufReader::new(said).split(b'\n') {
        let line = String::from_utf8_lossy(&line?).into_owned();
        told.hear(&line);
        last.push(line);
        last.drain(..last.len().saturating_sub(40));
    }
    let status = child.wait()?;
    let findings = entries(&found)?.len();
    if !status.success() {
        eprintln!("{}", last.join("\n"));
        ensure!(findings > 0, "the fuzzer of {parser} ended with {status}");
    }
    let Told {
        inputs,
        edges,
        edges_all,
    } = told;
    crate::put_out(&format!(
        "fuzz {parser}: {inputs} inputs, {edges} of the program's {edges_all} edges, \
         {findings} findings (bound 0)"
    ))?;
    Ok(findings)
}

impl Told {
    /// Takes what is of use from a line.
    fn hear(&mut self, line: &str) {
        let words: Vec<_> = line.split_whitespace().collect();
        for pair in words.windows(2) {
            match pair {
                ["cov:", edges] => self.edges = edges.parse().unwrap_or(self.edges),
                ["stat::number_of_executed_units:", inputs] => {
                    self.inputs = inputs.parse().unwrap_or(self.inputs);
                }
                [edges, "inline"] => {
                    let edges = edges.trim_start_matches('(').parse();
                    self.edges_all = edges.unwrap_or(self.edges_all);
                }
                _ => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_fuzzer_tells_is_understood() {
        let mut told = Told::default();
        for line in [
            "INFO: Loaded 1 modules   (60123 inline 8-bit counters): 60123 [0x1, 0x2),",
            "#131072\tpulse  cov: 903 ft: 1200 corp: 81/9Kb lim: 4096 exec/s: 43690 rss: 90Mb",
            "#200000\tDONE   cov: 911 ft: 1210 corp: 83/9Kb lim: 4096 exec/s: 40000 rss: 91Mb",
            "stat::number_of_executed_units: 200000",
        ] {
            told.hear(line);
        }
        let expected = Told {
            inputs: 200_000,
            edges: 911,
            edges_all: 60_123,
        };
        assert_eq!(told, expected);
    }
}
