//! What this machine can do; for each lack the command that mends it.

use crate::machine::{self, MachineRequest, boot};
use crate::session::{Session, SessionConfig};
use hypervisor::host::free_bytes;
use hypervisor::qemu::binary::QemuBinary;
use hypervisor::{Accelerator, HostInfo, Hypervisor, KVM_DEVICE, MachineSpec, PageListMethod};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How a check came out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CheckStatus {
    /// It works.
    Ok,
    /// It works less well than it could.
    Limited,
    /// It is missing, and runs need it.
    Missing,
}

/// One check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Check {
    /// What was looked at.
    pub name: &'static str,
    /// How it came out.
    pub status: CheckStatus,
    /// What was seen.
    pub detail: String,
    /// What mends it.
    pub remedy: Option<String>,
}

/// CPU and wall time of a probe boot: ten times what it takes on a slow host.
const PROBE_LIMIT: Duration = Duration::from_secs(30);

/// Free space below which runs fail soon.
const COMFORTABLE_BYTES: u64 = 1 << 30;

impl Check {
    fn ok(name: &'static str, detail: String) -> Self {
        Self {
            name,
            status: CheckStatus::Ok,
            detail,
            remedy: None,
        }
    }

    fn limited(name: &'static str, detail: String, remedy: &str) -> Self {
        Self {
            name,
            status: CheckStatus::Limited,
            detail,
            remedy: Some(remedy.to_owned()),
        }
    }

    fn missing(name: &'static str, detail: String, remedy: Option<String>) -> Self {
        Self {
            name,
            status: CheckStatus::Missing,
            detail,
            remedy,
        }
    }
}

/// Looks at everything that runs need; with `boot`, boots a machine too.
pub async fn examine(config: &SessionConfig, boot: bool) -> Vec<Check> {
    let host = HostInfo::read();
    let mut checks = vec![cpus(&host), memory(&host), page_lists()];
    checks.push(qemu().await);
    checks.push(kernel());
    checks.push(guest_program());
    checks.extend(space("store", &config.store));
    let able = !checks
        .iter()
        .any(|check| check.status == CheckStatus::Missing);
    match Session::open(config.clone()).await {
        Err(error) => {
            let remedy = error.remedy();
            checks.push(Check::missing("session", error.to_string(), remedy));
        }
        Ok(session) => {
            checks.extend(space("run directory", session.root.path()));
            if boot && able {
                checks.push(boots(&session).await);
                checks.push(kvm(&session).await);
            }
        }
    }
    checks
}

fn cpus(host: &HostInfo) -> Check {
    let count = host.cpus.len();
    let detail = format!("{count} usable on {}", host.name);
    if count >= 2 {
        Check::ok("cpus", detail)
    } else {
        let remedy = "give it a second CPU: replicas on one core cannot tell that core is at fault";
        Check::limited("cpus", detail, remedy)
    }
}

fn memory(host: &HostInfo) -> Check {
    let available = host.memory_available_bytes;
    let detail = format!("{} MiB available", available >> 20);
    if available >= 2 * machine::DEFAULT_MEMORY_BYTES {
        Check::ok("memory", detail)
    } else {
        let remedy = format!(
            "{} MiB are needed",
            (2 * machine::DEFAULT_MEMORY_BYTES) >> 20
        );
        Check::missing("memory", detail, Some(remedy))
    }
}

fn page_lists() -> Check {
    match PageListMethod::best() {
        PageListMethod::Scan => Check::ok("changed pages", "by PAGEMAP_SCAN".to_owned()),
        PageListMethod::Bits => Check::limited(
            "changed pages",
            "by the bits of pagemap".to_owned(),
            "Linux 6.7 or later lists them quicker; results are the same",
        ),
        PageListMethod::Compare => Check::limited(
            "changed pages",
            "by comparison with the snapshot".to_owned(),
            "mount /proc with pagemap for this user",
        ),
    }
}

async fn qemu() -> Check {
    match QemuBinary::find().await {
        Ok(binary) => Check::ok(
            "qemu",
            format!("{} at {}", binary.version, binary.path.display()),
        ),
        Err(error) => Check::missing("qemu", error.to_string(), error.remedy()),
    }
}

fn kernel() -> Check {
    let path = machine::default_kernel();
    match machine::check_kernel(&path) {
        Ok(()) => Check::ok("guest kernel", path.display().to_string()),
        Err(error) => Check::missing("guest kernel", error.to_string(), error.remedy()),
    }
}

fn guest_program() -> Check {
    match guest::program() {
        Some(program) => Check::ok("guest program", format!("{} KiB", program.len() >> 10)),
        None => {
            let error = crate::ControlError::NoGuestProgram;
            Check::missing("guest program", error.to_string(), error.remedy())
        }
    }
}

/// Free space at a directory, or at its nearest ancestor that exists.
fn space(name: &'static str, path: &Path) -> Option<Check> {
    let there = path.ancestors().find(|ancestor| ancestor.exists())?;
    let free = free_bytes(there).ok()?;
    let detail = format!("{} MiB free at {}", free >> 20, path.display());
    Some(if free >= COMFORTABLE_BYTES {
        Check::ok(name, detail)
    } else {
        Check::limited(
            name,
            detail,
            "free some space there: a run takes some 200 MiB",
        )
    })
}

async fn boots(session: &Session) -> Check {
    let name = "boot";
    let spec = match machine::standard_spec() {
        Ok(spec) => spec,
        Err(error) => return Check::missing(name, error.to_string(), error.remedy()),
    };
    let started = Instant::now();
    match probe(&session.hypervisor, &spec, &session.host, PROBE_LIMIT).await {
        Ok(release) => {
            let seconds = started.elapsed().as_secs_f32();
            Check::ok(
                name,
                format!("Linux {release} introduced itself after {seconds:.1} s"),
            )
        }
        Err(error) => Check::missing(name, error.to_string(), error.remedy()),
    }
}

/// KVM is used by nobody before a boot on it has passed within its limit.
async fn kvm(session: &Session) -> Check {
    let name = "kvm";
    if !Path::new(KVM_DEVICE).exists() {
        let remedy = "not needed; on a host with KVM, load kvm_amd or kvm_intel";
        return Check::limited(
            name,
            format!("no {KVM_DEVICE}; QEMU's translator is used"),
            remedy,
        );
    }
    let request = MachineRequest {
        accelerator: Accelerator::Kvm,
        ..MachineRequest::default()
    };
    let spec = match request.spec() {
        Ok(spec) => spec,
        Err(error) => return Check::missing(name, error.to_string(), error.remedy()),
    };
    let cpu = session.host.cpus.first().copied().unwrap_or(0);
    match machine::probe_kvm(&session.hypervisor, &spec, &[cpu]).await {
        Ok(hello) => Check::ok(name, format!("Linux {} boots on it", hello.kernel_release)),
        Err(error) => Check::limited(
            name,
            error.to_string(),
            "not needed; QEMU's translator is used",
        ),
    }
}

async fn probe(
    hypervisor: &Arc<dyn Hypervisor>,
    spec: &MachineSpec,
    host: &HostInfo,
    limit: Duration,
) -> Result<String, crate::ControlError> {
    let cpu = host.cpus.first().copied().unwrap_or(0);
    let hello = boot::probe(hypervisor, spec, &[cpu], limit).await?;
    Ok(hello.kernel_release)
}
