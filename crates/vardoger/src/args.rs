//! The command line as typed. One grammar: `vardoger NOUN VERB [OBJECT] [FLAGS]`.
//!
//! What the words mean is settled in the commands; here they are only read.

use clap::{Args, Parser, Subcommand, ValueEnum};
use control::saved::Which;
use std::path::PathBuf;
use std::time::Duration;

/// Doubles for virtual machines: what went wrong, where, before it fails.
///
/// N identical machines run one repeatable computation; the one that ends differently is named,
/// with the exact difference.
#[derive(Debug, Parser)]
#[command(
    name = "vardoger",
    version,
    propagate_version = true,
    max_term_width = 100
)]
pub(crate) struct Cli {
    /// What all commands take.
    #[command(flatten)]
    pub(crate) global: Global,
    /// The noun.
    #[command(subcommand)]
    pub(crate) noun: Noun,
}

/// Flags that mean the same everywhere.
#[derive(Debug, Args)]
pub(crate) struct Global {
    /// Form of the result
    #[arg(short, long, global = true, value_enum, default_value_t = Output::Table)]
    pub(crate) output: Output,
    /// Same as `--output json`
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// No messages and no progress, only the result
    #[arg(short, long, global = true)]
    pub(crate) quiet: bool,
    /// Say what is being done; twice: in detail
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub(crate) verbose: u8,
    /// Colours in the result
    #[arg(long, global = true, value_enum, default_value_t = Color::Auto)]
    pub(crate) color: Color,
    /// Directory of results and evidence
    #[arg(long, global = true, value_name = "DIR", env = "VARDOGER_STORE")]
    pub(crate) store: Option<PathBuf>,
}

impl Global {
    /// Whether the result is JSON.
    pub(crate) fn json(&self) -> bool {
        self.json || matches!(self.output, Output::Json | Output::Ndjson)
    }

    /// Whether the result is a page for a browser.
    pub(crate) fn html(&self) -> bool {
        self.output == Output::Html && !self.json
    }
}

/// Form of the result.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Output {
    /// For people.
    Table,
    /// One document.
    Json,
    /// One document per line.
    Ndjson,
    /// A page for a browser; of runs only.
    Html,
}

/// When the result is coloured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Color {
    /// On a terminal, unless `NO_COLOR` is set.
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

impl Color {
    /// Settles it for all output of this process.
    pub(crate) fn apply(self) {
        match self {
            Self::Auto => anstream::ColorChoice::Auto,
            Self::Always => anstream::ColorChoice::Always,
            Self::Never => anstream::ColorChoice::Never,
        }
        .write_global();
    }
}

/// Things that the user holds.
#[derive(Debug, Subcommand)]
pub(crate) enum Noun {
    /// Entries of the computation library
    #[command(subcommand)]
    Computation(ComputationVerb),
    /// Runs: one computation, N replicas, one verdict
    #[command(subcommand)]
    Run(RunVerb),
    /// Campaigns: many runs with injected faults, against known truth
    #[command(subcommand)]
    Campaign(CampaignVerb),
    /// What the engines say
    #[command(subcommand)]
    Finding(FindingVerb),
    /// Disk images: their history, what changed in which file, and files as they were
    #[command(subcommand)]
    Image(ImageVerb),
    /// What this machine can do, and what it lacks
    Doctor(DoctorArgs),
    /// Reads untrusted files in a process of its own; started by vardoger itself
    #[command(hide = true)]
    Worker {
        /// What it does
        #[arg(required_unless_present = "self_test")]
        work: Option<Work>,
        /// What it is to try; or the socket of a guest's agent
        #[arg(required_if_eq_any = [("work", "attempt"), ("work", "thaw")])]
        subject: Option<PathBuf>,
        /// Has workers try to get out, and shows how each is refused
        #[arg(long, conflicts_with_all = ["work", "subject"])]
        self_test: bool,
    },
    /// Completions for a shell
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
    /// The version of this program
    Version,
}

/// What a worker does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Work {
    /// Compares saved states.
    Diff,
    /// Reads disk images.
    Image,
    /// Freezes a guest's file systems, and thaws them whatever becomes of its parent.
    Thaw,
    /// Tries one way out.
    Attempt,
}

/// Verbs of `computation`.
#[derive(Debug, Subcommand)]
pub(crate) enum ComputationVerb {
    /// All entries of the library
    Ls,
    /// One entry
    Show {
        /// Its name
        name: String,
    },
    /// Computes a golden digest natively, by which runs with the same seed and size are held too
    Learn(LearnArgs),
}

/// Flags of `computation learn`.
#[derive(Debug, Args)]
pub(crate) struct LearnArgs {
    /// Its name; all of them where absent
    pub(crate) name: Option<String>,
    /// Seed of the input
    #[arg(long, default_value = "0", value_parser = parse_seed)]
    pub(crate) seed: u64,
    /// Size: CPU time of one replica, such as `2s`
    #[arg(long, value_parser = parse_duration)]
    pub(crate) budget: Option<Duration>,
}

/// Verbs of `run`.
#[derive(Debug, Subcommand)]
pub(crate) enum RunVerb {
    /// Runs a computation in N identical machines and compares how they end
    Start(Box<StartArgs>),
    /// Runs of the past
    Ls {
        /// At most so many, newest first
        #[arg(long, default_value_t = 50)]
        limit: u32,
    },
    /// One run: by id, unique prefix, `@last` or `@last~N`
    Show {
        /// Which
        #[arg(default_value = "@last")]
        run: String,
        /// Write the result to a file instead of stdout
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
    },
    /// Compares saved states, of runs and from elsewhere
    Diff(DiffArgs),
    /// Writes saved states of a run into files
    Export(ExportArgs),
}

/// Flags of `run diff`.
#[derive(Debug, Args)]
pub(crate) struct DiffArgs {
    /// State files, and states of runs: RUN, RUN:K, RUN:majority
    #[arg(required = true, value_name = "STATE")]
    pub(crate) states: Vec<String>,
}

/// Flags of `run export`.
#[derive(Debug, Args)]
pub(crate) struct ExportArgs {
    /// Which run
    #[arg(default_value = "@last")]
    pub(crate) run: String,
    /// Whose state: a replica's number, `majority`, or all that are kept
    #[arg(long, default_value = "all", value_name = "K|majority|all")]
    pub(crate) replica: Which,
    /// A directory; or a file, for one state
    #[arg(long, value_name = "DIR|FILE")]
    pub(crate) out: PathBuf,
}

/// Flags of `run start`.
#[derive(Debug, Args)]
pub(crate) struct StartArgs {
    /// Computation, by name; or let `--target` and `--sensitivity` choose
    #[arg(required_unless_present_any = ["target", "sensitivity", "program"])]
    pub(crate) computation: Option<String>,
    /// A static executable of yours as the computation; its arguments follow `--`
    #[arg(
        long,
        value_name = "PATH",
        conflicts_with_all = ["computation", "target", "sensitivity", "budget"]
    )]
    pub(crate) program: Option<PathBuf>,
    /// A file that the program finds in its working directory
    #[arg(long, value_name = "PATH", requires = "program")]
    pub(crate) file: Vec<PathBuf>,
    /// The program's standard input; empty where absent
    #[arg(long, value_name = "PATH", requires = "program")]
    pub(crate) stdin: Option<PathBuf>,
    /// Arguments of the program
    #[arg(last = true, value_name = "ARGUMENTS", requires = "program")]
    pub(crate) arguments: Vec<String>,
    /// Choose what exercises this: cpu.fpu, cpu.crypto, cpu.integer, memory, kernel
    #[arg(long, conflicts_with = "computation")]
    pub(crate) target: Option<String>,
    /// Choose by how readily a wrong bit shows: high, medium, low
    #[arg(long, conflicts_with = "computation")]
    pub(crate) sensitivity: Option<String>,
    /// Identical machines
    #[arg(short = 'n', long, default_value_t = 3)]
    pub(crate) replicas: u32,
    /// Seed of the input and of injections
    #[arg(long, default_value = "0", value_parser = parse_seed)]
    pub(crate) seed: u64,
    /// CPU time of one replica, such as `2s`; of all that is chosen, with `--target` or
    /// `--sensitivity`
    #[arg(long, value_parser = parse_duration)]
    pub(crate) budget: Option<Duration>,
    /// Machines that run at once; one less than there are CPUs where absent
    #[arg(long)]
    pub(crate) jobs: Option<u32>,
    /// CPU time after which a machine counts as hung
    #[arg(long, value_parser = parse_duration)]
    pub(crate) timeout: Option<Duration>,
    /// Check the detector: PART[=WHERE][:BIT][@WHEN][,replica=K][,mode=M], such as ram=live,
    /// reg=rax, log, hang, ram,mode=stale
    #[arg(long, value_name = "FAULT")]
    pub(crate) inject: Vec<String>,
    /// Evidence that stays in the store
    #[arg(long, value_enum, default_value_t = KeepArg::Differing)]
    pub(crate) keep: KeepArg,
    /// Post findings to this URL, in the form of Alertmanager's webhooks
    #[arg(long, value_name = "URL")]
    pub(crate) notify: Option<String>,
    /// Statistical deviations count from this many times their baseline
    #[arg(long, default_value_t = 1.0)]
    pub(crate) multiplier: f64,
    /// Write the result to a file instead of stdout
    #[arg(long, value_name = "FILE")]
    pub(crate) out: Option<PathBuf>,
}

/// Evidence that stays.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum KeepArg {
    /// Differing pages and one majority copy.
    Differing,
    /// Every machine's state and whole memory image.
    All,
}

/// Verbs of `image`.
#[derive(Debug, Subcommand)]
pub(crate) enum ImageVerb {
    /// Adds an image, and captures it whole
    Add(ImageAddArgs),
    /// Captures images again: what changed since. Those of one running machine at one moment
    Capture {
        /// Their names
        #[arg(required = true)]
        images: Vec<String>,
        /// Again and again, with so much time between, until interrupted
        #[arg(long, value_name = "AGE", value_parser = parse_age)]
        every: Option<Duration>,
    },
    /// Takes everything of vardoger off a running machine: bitmaps, and what a killed command left
    Release {
        /// The socket of its monitor
        #[arg(long, value_name = "SOCKET")]
        vm: PathBuf,
    },
    /// The images of the store
    Ls,
    /// The captures of an image, newest first
    Log {
        /// Its name
        image: String,
    },
    /// What is on a disk: its volumes, and files with owner, times and size
    Files {
        /// An image file, a name, or a name as it was: NAME@-1, NAME@2026-11-20T14:05Z, NAME@ID
        image: String,
        /// Only what is at this path, or below it: /path, or VOLUME:/path
        path: Option<String>,
        /// How an image file is read
        #[command(flatten)]
        reading: ReadingArgs,
    },
    /// What changed, file by file
    Diff {
        /// The earlier: as of `image files`. Alone it is the later, and the earlier is the one before
        before: String,
        /// The later
        after: Option<String>,
        /// How an image file is read
        #[command(flatten)]
        reading: ReadingArgs,
    },
    /// The bytes of a file as it was
    Cat {
        /// As of `image files`
        image: String,
        /// /path, or VOLUME:/path
        path: String,
        /// How an image file is read
        #[command(flatten)]
        reading: ReadingArgs,
    },
    /// Restores files into a directory, or a whole disk into a raw image
    Restore {
        /// As of `image files`
        image: String,
        /// What to restore, with all below it; the whole disk where absent
        path: Option<String>,
        /// Of files a directory, of a disk a file. Nothing is written over
        #[arg(long, value_name = "DIR|FILE")]
        to: PathBuf,
        /// How an image file is read
        #[command(flatten)]
        reading: ReadingArgs,
    },
    /// Looks whether all of a history is there and is what it was
    Check {
        /// Its name
        image: String,
        /// Read all stored bytes, against their digests
        #[arg(long)]
        read_data: bool,
        /// Unpack every unit, against its digest
        #[arg(long, conflicts_with = "read_data")]
        deep: bool,
        /// An anchor that was kept elsewhere: it tells whether the end was cut off
        #[arg(long, value_name = "ANCHOR", value_parser = anchor)]
        anchor: Option<control::image::Anchor>,
    },
    /// Makes a history shorter: what is older becomes one base
    Forget(ForgetArgs),
    /// Prints the end of a history, to be kept elsewhere
    Anchor {
        /// Its name
        image: String,
    },
    /// Removes an image with all of its history
    Rm {
        /// Its name
        image: String,
        /// Do not ask
        #[arg(long)]
        yes: bool,
    },
}

/// How an image file is read.
#[derive(Debug, Args)]
pub(crate) struct ReadingArgs {
    /// Format of an image file, where its name does not tell it
    #[arg(long, value_name = "FORMAT", value_parser = image_format)]
    pub(crate) format: Option<disk::Format>,
    /// A directory, besides the image's own, in which images may lie that it stands on
    #[arg(long, value_name = "DIR")]
    pub(crate) allow: Vec<PathBuf>,
}

/// Flags of `image add`.
#[derive(Debug, Args)]
pub(crate) struct ImageAddArgs {
    /// The image file, or a block device; or let `--vm` name a running machine
    #[arg(
        value_name = "PATH",
        required_unless_present = "vm",
        conflicts_with = "vm"
    )]
    pub(crate) path: Option<PathBuf>,
    /// The socket of a running QEMU's monitor (`-qmp unix:SOCKET,server=on,wait=off`)
    #[arg(long, value_name = "SOCKET", requires = "name")]
    pub(crate) vm: Option<PathBuf>,
    /// One of the machine's disks; all that can be captured where absent
    #[arg(long, value_name = "NAME", requires = "vm")]
    pub(crate) disk: Vec<String>,
    /// The socket of the guest's agent: file systems are frozen for the moment of each capture
    #[arg(long, value_name = "SOCKET", requires = "vm")]
    pub(crate) agent: Option<PathBuf>,
    /// Its name in the store; the file's without its ending where absent
    #[arg(long)]
    pub(crate) name: Option<String>,
    /// Its format, where the file's name does not tell it; never taken from what a guest can write
    #[arg(long, value_name = "FORMAT", value_parser = image_format, conflicts_with = "vm")]
    pub(crate) format: Option<disk::Format>,
    /// An internal snapshot of it, in place of the present disk
    #[arg(long, value_name = "NAME")]
    pub(crate) snapshot: Option<String>,
    /// A directory, besides the image's own, in which images may lie that it stands on
    #[arg(long, value_name = "DIR")]
    pub(crate) allow: Vec<PathBuf>,
}

/// Flags of `image forget`. Without any, what a broken-off command left is removed.
#[derive(Debug, Args)]
pub(crate) struct ForgetArgs {
    /// Its name
    pub(crate) image: String,
    /// Captures that stay, at most
    #[arg(long, value_name = "N")]
    pub(crate) keep_last: Option<u64>,
    /// How far back the disk can be read as it was, such as `30d`
    #[arg(long, value_name = "AGE", value_parser = parse_age)]
    pub(crate) keep_within: Option<Duration>,
    /// About how much is stored at most, in bytes; the last capture always stays
    #[arg(long, value_name = "BYTES")]
    pub(crate) max_bytes: Option<u64>,
    /// Only say what would be forgotten
    #[arg(long)]
    pub(crate) dry_run: bool,
}

fn anchor(text: &str) -> Result<control::image::Anchor, String> {
    text.parse()
        .map_err(|error: control::image::AnchorError| error.to_string())
}

fn image_format(name: &str) -> Result<disk::Format, String> {
    disk::Format::from_name(name).ok_or_else(|| "one of raw, qcow2, vmdk, vhdx".to_owned())
}

/// Verbs of `campaign`.
#[derive(Debug, Subcommand)]
pub(crate) enum CampaignVerb {
    /// Tries the detector many times, with faults drawn from a seed, or without any
    Start(CampaignStartArgs),
    /// Campaigns of the past
    Ls,
    /// One campaign: by id, unique prefix, `@last` or `@last~N`
    Show {
        /// Which
        #[arg(default_value = "@last")]
        campaign: String,
    },
    /// Goes on with a campaign that was stopped or killed
    Resume {
        /// Which
        #[arg(default_value = "@last")]
        campaign: String,
        /// Machines that run at once; one less than there are CPUs where absent
        #[arg(long)]
        jobs: Option<u32>,
    },
    /// Stops a campaign after the trials at hand
    Stop {
        /// Which
        #[arg(default_value = "@last")]
        campaign: String,
    },
}

/// Flags of `campaign start`.
#[derive(Debug, Args)]
pub(crate) struct CampaignStartArgs {
    /// Computations, by name; all of the library where absent
    pub(crate) computations: Vec<String>,
    /// How many trials
    #[arg(long, default_value_t = 100)]
    pub(crate) trials: u32,
    /// No faults: whatever is found is wrong. All replicas run, in varied order and on varied CPUs,
    /// and every other trial while the host is kept busy
    #[arg(long)]
    pub(crate) clean: bool,
    /// Replicas that are compared in each trial
    #[arg(short = 'n', long, default_value_t = 3)]
    pub(crate) replicas: u32,
    /// Seed of all draws
    #[arg(long, default_value = "0", value_parser = parse_seed)]
    pub(crate) seed: u64,
    /// Size of each computation: CPU time of one replica
    #[arg(long, default_value = "200ms", value_parser = parse_duration)]
    pub(crate) budget: Duration,
    /// Machines that run at once; one less than there are CPUs where absent
    #[arg(long)]
    pub(crate) jobs: Option<u32>,
}

/// Verbs of `finding`.
#[derive(Debug, Subcommand)]
pub(crate) enum FindingVerb {
    /// Findings of the past
    Ls {
        /// At most so many, newest first
        #[arg(long, default_value_t = 50)]
        limit: u32,
    },
    /// One finding: by id, unique prefix, `@last` or `@last~N`
    Show {
        /// Which
        #[arg(default_value = "@last")]
        finding: String,
    },
    /// Its possible causes, each with evidence, likelihood ratio and sources
    Explain {
        /// Which
        #[arg(default_value = "@last")]
        finding: String,
    },
}

/// Flags of `doctor`.
#[derive(Debug, Args)]
pub(crate) struct DoctorArgs {
    /// Do not boot a machine to see that it works
    #[arg(long)]
    pub(crate) no_boot: bool,
}

fn parse_seed(text: &str) -> Result<u64, String> {
    let text = text.replace('_', "");
    let parsed = match text.strip_prefix("0x") {
        Some(hexadecimal) => u64::from_str_radix(hexadecimal, 16),
        None => text.parse(),
    };
    parsed.map_err(|_| "a seed is a number below 2^64, such as 7 or 0x1f".to_owned())
}

fn parse_duration(text: &str) -> Result<Duration, String> {
    let wrong = || "a duration is a number and a unit, such as 500ms, 60s or 2m".to_owned();
    let duration: jiff::SignedDuration = text.parse().map_err(|_| wrong())?;
    Duration::try_from(duration)
        .ok()
        .filter(|duration| !duration.is_zero())
        .ok_or_else(wrong)
}

/// An age, for which days and weeks are units too: of 24 hours each.
fn parse_age(text: &str) -> Result<Duration, String> {
    let wrong = || "an age is a number and a unit, such as 36h, 30d or 8w".to_owned();
    let span: jiff::Span = text.parse().map_err(|_| wrong())?;
    let duration = span.to_duration(jiff::SpanRelativeTo::days_are_24_hours());
    let duration = duration.map_err(|_| wrong())?;
    Duration::try_from(duration)
        .ok()
        .filter(|duration| !duration.is_zero())
        .ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_grammar_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn seeds_and_durations_are_read() {
        assert_eq!(parse_seed("0x1f"), Ok(31));
        assert_eq!(parse_seed("7"), Ok(7));
        assert!(parse_seed("seven").is_err());
        assert_eq!(parse_duration("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(parse_duration("2m"), Ok(Duration::from_secs(120)));
        assert_eq!(parse_age("30d"), Ok(Duration::from_secs(30 * 86_400)));
        assert_eq!(parse_age("2w"), Ok(Duration::from_secs(14 * 86_400)));
        assert!(parse_age("-1d").is_err() && parse_age("1").is_err());
        assert!(parse_duration("0s").is_err());
        assert!(parse_duration("-1s").is_err());
        assert!(parse_duration("60").is_err());
    }
}
