//! The command line as typed. One grammar: `vardoger NOUN VERB [OBJECT] [FLAGS]`.
//!
//! What the words mean is settled in the commands; here they are only read.

mod image;

pub(crate) use image::{
    ChangesArgs, ExportFormat, ForgetArgs, ImageAddArgs, ImageCaptureArgs, ImageExportArgs,
    ImageVerb, ReadingArgs, TimeOfDay, TimelineArgs,
};

use clap::{Args, Parser, Subcommand, ValueEnum};
use control::campaign::FaultPlace;
use control::machine::{Accelerator, MachineRequest};
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
    /// What the library exercises, beside other tools' lists and this processor's extensions
    Coverage,
    /// Computes a golden digest natively, by which runs with the same seed and size are held too; of
    /// machines that are not bit-exact learns their noise from clean runs
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
    /// The machine.
    #[command(flatten)]
    pub(crate) machine: MachineArgs,
    /// Clean runs to learn noise from; as many as it takes where absent
    #[arg(long)]
    pub(crate) runs: Option<u64>,
    /// Replicas of each of these runs
    #[arg(short = 'n', long, default_value_t = 3)]
    pub(crate) replicas: u32,
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
    #[arg(required_unless_present_any = ["target", "sensitivity", "program", "disk", "rootfs"])]
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
    /// A disk of yours in which the command runs that follows `--`; it is never written to
    #[arg(
        long,
        value_name = "IMAGE",
        conflicts_with_all = ["computation", "target", "sensitivity", "budget", "program"]
    )]
    pub(crate) disk: Option<PathBuf>,
    /// The disk's format, where the file's name does not tell it: raw or qcow2
    #[arg(long, value_name = "FORMAT", value_parser = image::image_format, requires = "disk")]
    pub(crate) format: Option<disk::Format>,
    /// A container's root file system in which the command runs that follows `--`: a directory, a tar
    /// of one, or a container's image (`docker save`, `podman save`, an OCI layout); never written to
    #[arg(
        long,
        value_name = "DIR|TAR",
        conflicts_with_all = ["computation", "target", "sensitivity", "budget", "program", "disk"]
    )]
    pub(crate) rootfs: Option<PathBuf>,
    /// Arguments of the program, or the command in the disk or root file system
    #[arg(last = true, value_name = "ARGUMENTS")]
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
    /// Check the detector: PART[=WHERE][:BIT][@WHEN][,replica=K|,cpu=C][,mode=M][,PATTERN], such as
    /// ram=live, reg=rax, log, hang, ram,mode=stale, ram@end,mode=scramble,words=8
    #[arg(long, value_name = "FAULT")]
    pub(crate) inject: Vec<String>,
    /// Where a run deviates, carry out the experiments that tell the likeliest causes apart
    #[arg(long)]
    pub(crate) investigate: bool,
    /// Evidence that stays in the store
    #[arg(long, value_enum, default_value_t = KeepArg::Differing)]
    pub(crate) keep: KeepArg,
    /// Post findings to this URL, in the form of Alertmanager's webhooks
    #[arg(long, value_name = "URL")]
    pub(crate) notify: Option<String>,
    /// Statistical deviations count from this many times their baseline
    #[arg(long, default_value_t = 1.0)]
    pub(crate) multiplier: f64,
    /// The machine.
    #[command(flatten)]
    pub(crate) machine: MachineArgs,
    /// Write the result to a file instead of stdout
    #[arg(long, value_name = "FILE")]
    pub(crate) out: Option<PathBuf>,
}

/// Flags that choose the machine.
#[derive(Debug, Clone, Copy, Args)]
pub(crate) struct MachineArgs {
    /// Virtual processors of each machine
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(crate) vcpus: u32,
    /// Count the guest's time in instructions, so that machines are bit-exact; on with one vCPU under
    /// tcg unless said otherwise, never with several or under kvm
    #[arg(long, value_enum, value_name = "on|off")]
    pub(crate) icount: Option<Switch>,
    /// What executes the guest's instructions
    #[arg(long, value_enum, default_value_t = AcceleratorArg::Tcg)]
    pub(crate) accelerator: AcceleratorArg,
}

/// On or off.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Switch {
    /// On.
    On,
    /// Off.
    Off,
}

/// What executes instructions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum AcceleratorArg {
    /// QEMU's translator.
    Tcg,
    /// The host's processor, by Linux's virtual machine monitor.
    Kvm,
}

impl From<MachineArgs> for MachineRequest {
    fn from(arguments: MachineArgs) -> Self {
        Self {
            vcpus: arguments.vcpus,
            icount: arguments.icount.map(|switch| switch == Switch::On),
            accelerator: match arguments.accelerator {
                AcceleratorArg::Tcg => Accelerator::Tcg,
                AcceleratorArg::Kvm => Accelerator::Kvm,
            },
        }
    }
}

/// Where faults fall.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum PlaceArg {
    /// In buffers that the computation has named.
    Buffer,
    /// In other memory of programs.
    User,
}

impl From<PlaceArg> for FaultPlace {
    fn from(place: PlaceArg) -> Self {
        match place {
            PlaceArg::Buffer => Self::Buffer,
            PlaceArg::User => Self::User,
        }
    }
}

/// Evidence that stays.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum KeepArg {
    /// Differing pages and one majority copy.
    Differing,
    /// Every machine's state and whole memory image.
    All,
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
        /// Rank the hints of its trials anew, from the evidence that was kept, as this vardoger does
        #[arg(long)]
        rank_anew: bool,
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
    /// Faults of known causes, of which the hints are told nothing: how often is the true cause
    /// said first, and how sure is that
    #[arg(long, conflicts_with = "clean")]
    pub(crate) hints: bool,
    /// Where faults fall on machines that are not bit-exact; in both by turns where absent
    #[arg(long, value_enum, value_name = "buffer|user", conflicts_with_all = ["clean", "hints"])]
    pub(crate) place: Option<PlaceArg>,
    /// Hold every list of changed pages that the kernel gives against a comparison of all memory, in
    /// every replica
    #[arg(long)]
    pub(crate) check_pages: bool,
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
    /// The machine.
    #[command(flatten)]
    pub(crate) machine: MachineArgs,
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
        assert!(parse_duration("0s").is_err());
        assert!(parse_duration("-1s").is_err());
        assert!(parse_duration("60").is_err());
    }
}
