//! `cargo xtask campaign NAME`: many trials of the product itself, against known truth.
//!
//! ```text
//! plan of trial N (seed, N) ──► trial ──► target/campaign/NAME.json ──► … ──► one line, exit code
//!                     ▲                          │
//!                     └───── a later start continues behind the trials that are there
//! ```
//!
//! What a trial does follows from the seed and its number alone, so that a campaign which was stopped
//! is the same as one which was not. Trials of another seed or of another build of the program are
//! not continued: their file is replaced.

mod draw;
mod image_kill;
mod kill;
mod kvm;
mod leftovers;
mod live;
mod other;
mod record;
mod seen;

use std::fs::{self, File};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};
use clap::{Args, Subcommand};
use record::{Origin, Record};

use crate::product::Product;

/// What can be tried.
#[derive(Debug, Subcommand)]
pub(crate) enum Campaign {
    /// Kill runs at random times: the next command must clean up, and nothing may be lost
    Kill(Options),
    /// Kill captures of disks at random moments and at every call that writes: nothing may be lost
    ImageKill(Options),
    /// Capture a Linux guest that writes: every capture must be its disk at one moment
    Live(Options),
    /// Learn, and try clean runs and faults, on the genuine KVM of a host whose processor is emulated
    Kvm(kvm::Options),
}

/// How much, and from where on.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Trials, with those that an earlier start has finished
    #[arg(long, default_value_t = 20)]
    trials: u32,
    /// Seed of all that is drawn
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Forget the trials of earlier starts
    #[arg(long)]
    fresh: bool,
}

/// Carries a campaign out, or on.
pub(crate) fn run(campaign: &Campaign) -> anyhow::Result<()> {
    match campaign {
        Campaign::Kill(options) => carry_out("kill", options, kill::trials),
        Campaign::ImageKill(options) => image_kill::run(options),
        Campaign::Live(options) => carry_out("live", options, live::trials),
        Campaign::Kvm(options) => kvm::run(options),
    }
}

/// Does the trials that are missing, and concludes over all.
fn carry_out(
    name: &str,
    options: &Options,
    trials: fn(&Product, &mut Record, u32) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let directory = directory()?;
    let _alone = lock(&directory, name)?;
    let product = Product::build(name)?;
    let path = directory.join(format!("{name}.json"));
    if options.fresh && path.exists() {
        fs::remove_file(&path).with_context(|| format!("cannot remove {}", path.display()))?;
    }
    let origin = Origin {
        campaign: name.to_owned(),
        seed: options.seed,
        program: fingerprint(product.program())?,
    };
    let mut record = Record::open(&path, origin)?;
    eprintln!(
        "campaign {name}: seed {}, {} of {} trials finished earlier",
        options.seed,
        record.finished(options.trials),
        options.trials
    );
    if record.finished(options.trials) < options.trials as usize {
        trials(&product, &mut record, options.trials)?;
    }
    let failed = record.failed(options.trials);
    let trials = options.trials;
    let rate = stats::upper_bound_of_none(u64::from(trials)).filter(|_| failed == 0);
    let rate = rate.map_or(String::new(), |rate| {
        format!("; at most {:.2} % fail, at 95 % confidence", rate * 100.0)
    });
    crate::put_out(&format!(
        "{name}: {failed} of {trials} trials failed (bound 0){rate}"
    ))?;
    ensure!(failed == 0, "see {}", path.display());
    Ok(())
}

/// Where result files are.
fn directory() -> anyhow::Result<PathBuf> {
    let directory = crate::workspace()?.target_directory.join("campaign");
    fs::create_dir_all(&directory).with_context(|| format!("cannot create {directory}"))?;
    Ok(directory.into())
}

/// Holds off a second start of the same campaign, which would clear this one's places.
fn lock(directory: &Path, name: &str) -> anyhow::Result<File> {
    let path = directory.join(format!("{name}.lock"));
    let lock = File::create(&path).with_context(|| format!("cannot create {}", path.display()))?;
    lock.try_lock()
        .with_context(|| format!("campaign {name} is being carried out already"))?;
    Ok(lock)
}

/// Tells builds of the program apart.
fn fingerprint(program: &Path) -> anyhow::Result<String> {
    let bytes = fs::read(program).with_context(|| format!("cannot read {}", program.display()))?;
    let mut hasher = DefaultHasher::new();
    bytes.hash(&mut hasher);
    Ok(format!("{:016x}", hasher.finish()))
}
