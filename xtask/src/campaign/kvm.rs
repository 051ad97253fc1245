//! `scripts/kvm-campaign` on the genuine KVM of Linux, on a host whose processor is emulated: for
//! whoever has no KVM, or none that may be used.
//!
//! ```text
//!  this machine                 outer guest, QEMU's translator, an EPYC with SVM
//!  product, its QEMU ─────────► /work …          kvm_amd ─► /dev/kvm
//!  Debian's kernel ≥ 6.7 ─────► boots            kvm-campaign ─► vardoger ─► replicas on KVM
//!  target/campaign/kvm.disk ──► /store           │
//!  target/campaign/kvm.txt ◄──── each line ◄─────┘
//! ```
//!
//! The script is what a user with a KVM host runs, as it is. What it has done lies on the disk, so
//! that a campaign that was ended goes on; another build of the product begins anew. The KVM of this
//! machine is never touched.
//!
//! Not covered: Intel's VMX, which the translator does not have; speed; faults of real processors.

use super::fingerprint;
use crate::gen_image::tools::tool;
use crate::product::Product;
use anyhow::{Context, bail, ensure};
use clap::Args;
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;
use workshop::{Disk, Guest, Workshop};

/// Room for what a campaign keeps; sparse.
const DISK_BYTES: u64 = 4 << 30;

/// Memory of the outer guest: the product, its machine's memory, three replicas' changed pages.
const MEMORY_MIB: u32 = 3072;

/// A processor with SVM and nested pages, as the translator has them.
const PROCESSOR: &str = "EPYC";

/// One replica at work, and one processor for what watches it.
const PROCESSORS: u32 = 2;

/// For how long the script may say nothing: it speaks after each ten clean runs and each campaign.
const SILENCE_MAX: Duration = Duration::from_secs(3 * 3600);

/// Where QEMU keeps what machines begin with: firmware, and what loads a kernel.
const FIRMWARE: [&str; 2] = ["/usr/share/seabios", "/usr/share/qemu"];

/// Of which the replicas' machines load these.
const FIRMWARE_FILES: [&str; 4] = [
    "bios-256k.bin",
    "linuxboot_dma.bin",
    "kvmvapic.bin",
    "pvh.bin",
];

/// Begins the line that tells how the script has ended.
const ENDED: &str = "the script ended with ";

/// The outer guest's script. The campaign's lines are told as they come.
const SCRIPT: &str = r#"
hostname outer
mkdir -p /store
mount -t ext4 -o noatime /dev/vda /store
mount -o remount,size=2g /dev/shm
chmod 755 /store
[ -c /dev/kvm ] || { dmesg | tail -n 20; exit 1; }
export HOME=/root VARDOGER_KERNEL=/work/vmlinuz VARDOGER_RUN_DIR=/dev/shm/vardoger
{
    code=0
    sh /work/kvm-campaign --program /work/vardoger --place /store FLAGS 2>&1 || code=$?
    echo "the script ended with $code"
} | while IFS= read -r line; do
    printf '%s\n' "$line"
    mark line
done
sync
"#;

/// How much.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Clean runs to learn noise from
    #[arg(long, default_value_t = 30)]
    learn: u32,
    /// Clean trials
    #[arg(long, default_value_t = 50)]
    clean: u32,
    /// Bits to flip at the end, in named buffers
    #[arg(long, default_value_t = 30)]
    faults: u32,
    /// Replicas to make run in circles
    #[arg(long, default_value_t = 6)]
    hung: u32,
    /// Emulators to stop from outside
    #[arg(long, default_value_t = 2)]
    frozen: u32,
    /// The computation: one that names its buffers
    #[arg(long, default_value = "threads")]
    computation: String,
    /// The size of a run
    #[arg(long, default_value = "100ms")]
    budget: String,
    /// Forget what earlier starts have done
    #[arg(long)]
    fresh: bool,
    /// Carry out these words of the outer guest's shell instead, to look around
    #[arg(long, value_name = "SCRIPT")]
    instead: Option<String>,
}

impl Options {
    fn flags(&self) -> String {
        format!(
            "--computation '{}' --budget '{}' --learn {} --clean {} --faults {} --hung {} --frozen {}",
            self.computation,
            self.budget,
            self.learn,
            self.clean,
            self.faults,
            self.hung,
            self.frozen
        )
    }
}

/// Carries it out, or on.
pub(super) fn run(options: &Options) -> anyhow::Result<()> {
    let directory = super::directory()?;
    let _alone = super::lock(&directory, "kvm")?;
    let product = Product::build("kvm")?;
    let disk = directory.join("kvm.disk");
    let program = fingerprint(product.program())?;
    if prepare_disk(
        &disk,
        &format!("{program} {}", options.flags()),
        options.fresh,
    )? {
        eprintln!("campaign kvm: goes on with what {} holds", disk.display());
    }
    let script = match &options.instead {
        Some(script) => SCRIPT.replace(
            "sh /work/kvm-campaign --program /work/vardoger --place /store FLAGS",
            &format!("sh -c '{script}'"),
        ),
        None => SCRIPT.replace("FLAGS", &options.flags()),
    };
    let mut guest = outer(&product, &disk)?.boot(&script)?;
    let log = directory.join("kvm.txt");
    let code = follow(&mut guest, &log)?;
    guest.end()?.good()?;
    ensure!(
        code == "0",
        "the script ended with {code}: see {}",
        log.display()
    );
    Ok(())
}

/// The outer guest, with everything in it that the product needs on a host.
fn outer(product: &Product, disk: &Path) -> anyhow::Result<Workshop> {
    let kernel = host_kernel()?;
    let scripts = crate::workspace()?.workspace_root.join("scripts");
    let stripped = disk.with_file_name("vardoger-stripped");
    strip(product.program(), &stripped)?;
    let inner = workshop::kernel()?;
    let mut guest = Workshop::new()
        .kernel(&kernel.join("vmlinuz"))
        .processor(PROCESSOR)
        .processors(PROCESSORS)
        .memory_mib(MEMORY_MIB)
        .silence_max(SILENCE_MAX)
        .module("kvm_amd")
        .disk(Disk::raw(disk))
        .program_as(&stripped, "/work/vardoger")
        .program(&emulator()?)
        .file("/work/vmlinuz", 0o644, fs::read(&inner)?)
        .file(
            "/work/kvm-campaign",
            0o755,
            fs::read(scripts.join("kvm-campaign"))?,
        );
    for name in FIRMWARE_FILES {
        let places = FIRMWARE.iter().map(|place| Path::new(place).join(name));
        let found = places.into_iter().find(|path| path.is_file());
        let path = found.with_context(|| format!("QEMU's {name} is in none of {FIRMWARE:?}"))?;
        let in_guest = path.to_string_lossy().into_owned();
        guest = guest.file(&in_guest, 0o644, fs::read(&path)?);
    }
    Ok(guest)
}

/// A kernel with KVM, fetched once.
fn host_kernel() -> anyhow::Result<PathBuf> {
    let script = crate::workspace()?
        .workspace_root
        .join("scripts/lib/kvm-kernel");
    let said = Command::new(script).output();
    let said = said.context("cannot ask scripts/lib/kvm-kernel")?;
    let complained = String::from_utf8_lossy(&said.stderr);
    ensure!(said.status.success(), "{}", complained.trim());
    Ok(String::from_utf8(said.stdout)?.trim_end().into())
}

/// The program without what only a debugger reads: the outer guest keeps it in memory.
fn strip(program: &Path, stripped: &Path) -> anyhow::Result<()> {
    let (from, to) = (program.to_str(), stripped.to_str());
    let (from, to) = from.zip(to).context("the path is not UTF-8")?;
    tool("strip", &["-o", to, from], 0).map(drop)
}

fn emulator() -> anyhow::Result<PathBuf> {
    let search = std::env::var_os("PATH").unwrap_or_default();
    let mut places = std::env::split_paths(&search).map(|place| place.join("qemu-system-x86_64"));
    let found = places.find(|path| path.is_file());
    found.context("there is no qemu-system-x86_64 on the search path")
}

/// Sees that there is a disk for campaigns of this kind; says whether it holds one already.
fn prepare_disk(disk: &Path, kind: &str, fresh: bool) -> anyhow::Result<bool> {
    let note = disk.with_extension("kind");
    let holds = disk.is_file() && fs::read_to_string(&note).is_ok_and(|noted| noted == kind);
    if holds && !fresh {
        return Ok(true);
    }
    let failed = || format!("cannot make {}", disk.display());
    // The note comes last: what has none is made anew.
    if note.exists() {
        fs::remove_file(&note).with_context(failed)?;
    }
    let file = File::create(disk).with_context(failed)?;
    file.set_len(DISK_BYTES).with_context(failed)?;
    let path = disk.to_str().context("the path is not UTF-8")?;
    tool("mke2fs", &["-q", "-F", "-t", "ext4", path], 0)?;
    fs::write(&note, kind).with_context(failed)?;
    Ok(false)
}

/// Passes on what the script says, line by line, to us and into a file, to its end; its exit code.
fn follow(guest: &mut Guest, log: &Path) -> anyhow::Result<String> {
    let mut file = File::options()
        .create(true)
        .append(true)
        .open(log)
        .with_context(|| format!("cannot open {}", log.display()))?;
    loop {
        let text = guest.wait_for("line")?;
        let line = String::from_utf8_lossy(&text);
        let line = line.trim_end_matches(['\n', '\r']);
        if let Some(code) = line.strip_prefix(ENDED) {
            return Ok(code.to_owned());
        }
        crate::put_out(line)?;
        writeln!(file, "{line}").with_context(|| format!("cannot write {}", log.display()))?;
        if line.len() > LINE_BYTES_MAX {
            bail!("the outer guest says lines without an end");
        }
    }
}

/// Longer than any line of the script.
const LINE_BYTES_MAX: usize = 1 << 20;
