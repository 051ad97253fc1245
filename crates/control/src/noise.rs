//! What is known of the noise of machines that are not bit-exact: kept in the store, learned from clean
//! runs, and adapted by every run that passes.
//!
//! ```text
//! STORE/noise/COMPUTATION-ACCELERATOR-VCPUS.json   {"artefact":"vardoger-noise","format":1,"model":…}
//! ```
//!
//! A model holds for one kernel build, guest program, hypervisor and version of the computation. Where
//! one of them is another one, it has expired, and the next takes its place.

use crate::alignment::align_all;
use crate::error::ControlError;
use crate::machine::{self, PreparedMachine};
use crate::progress::Silent;
use crate::replica::{Captured, ReplicaContext, run_replica};
use crate::request::{RunPlan, RunRequest};
use crate::session::Session;
use crate::stall::Stall;
pub use divergence::NoiseSummary;
use divergence::align::NoMask;
use divergence::{NoiseKey, NoiseModel};
use futures::stream::{self, StreamExt, TryStreamExt};
use model::Outcome;
use serde::{Deserialize, Serialize};
use std::collections::HashSet;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// What marks a file as a model of noise.
const ARTEFACT: &str = "vardoger-noise";

/// The version of its layout.
const FORMAT: u32 = 1;

/// The longest file that is read: a model of a few thousand places takes a few hundred KB.
const MAX_BYTES: u64 = 64 << 20;

/// Runs after which a model that is being learned is made durable.
const RUNS_BETWEEN_SAVES: u64 = 10;

#[derive(Debug, Serialize, Deserialize)]
struct Kept {
    artefact: String,
    format: u32,
    model: NoiseModel,
}

/// Only what tells whether the rest can be read.
#[derive(Debug, Deserialize)]
struct Head {
    artefact: String,
    format: u32,
}

/// What noise of a plan's replicas is a function of.
pub(crate) fn key(plan: &RunPlan, machine: &PreparedMachine, session: &Session) -> NoiseKey {
    NoiseKey {
        computation: plan.computation.name(),
        computation_version: plan.computation.version(),
        kernel_digest: machine.kernel_digest.clone(),
        guest_digest: machine.guest_digest.clone(),
        hypervisor: session.hypervisor.version().to_owned(),
        accelerator: machine.spec.accelerator.name().to_owned(),
        cpu_model: machine.spec.cpu_model.clone(),
        vcpus: machine.spec.vcpus,
        memory_bytes: machine.spec.memory_bytes,
    }
}

fn path(store: &Path, key: &NoiseKey) -> PathBuf {
    let name = computation::job::safe_name(&key.computation);
    let file = format!("{name}-{}-{}.json", key.accelerator, key.vcpus);
    store.join("noise").join(file)
}

/// The model that holds for a key; an empty one where none does.
///
/// # Errors
/// There is a file that cannot be read, is damaged, or of a newer version.
pub(crate) fn load(store: &Path, key: NoiseKey) -> Result<NoiseModel, ControlError> {
    let path = path(store, &key);
    let failed = || ControlError::file("read", &path);
    let wrong = |what: String| failed()(std::io::Error::other(what));
    match fs::metadata(&path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return Ok(NoiseModel::new(key));
        }
        Err(error) => return Err(failed()(error)),
        Ok(metadata) if metadata.len() > MAX_BYTES => {
            return Err(wrong(format!("it has {} bytes", metadata.len())));
        }
        Ok(_) => {}
    }
    let text = fs::read(&path).map_err(failed())?;
    let head: Head = serde_json::from_slice(&text).map_err(|error| wrong(error.to_string()))?;
    if head.artefact != ARTEFACT || head.format != FORMAT {
        return Err(wrong(format!(
            "it is {} of format {}, this version reads {ARTEFACT} of format {FORMAT}",
            head.artefact, head.format
        )));
    }
    let kept: Kept = serde_json::from_slice(&text).map_err(|error| wrong(error.to_string()))?;
    if kept.model.key == key {
        return Ok(kept.model);
    }
    tracing::info!(path = %path.display(), "what was learned of noise has expired: another kernel, guest or version");
    Ok(NoiseModel::new(key))
}

/// Writes a model whole or not at all, durably.
///
/// # Errors
/// The store cannot be written.
pub(crate) fn save(store: &Path, model: &NoiseModel) -> Result<(), ControlError> {
    let path = path(store, &model.key);
    let directory = store.join("noise");
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(&directory)
        .map_err(ControlError::file("make", &directory))?;
    let kept = Kept {
        artefact: ARTEFACT.to_owned(),
        format: FORMAT,
        model: model.clone(),
    };
    let failed = || ControlError::file("write", &path);
    let text = serde_json::to_vec(&kept).map_err(|error| failed()(error.into()))?;
    let unfinished = path.with_extension(format!("{}", std::process::id()));
    OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&unfinished)
        .and_then(|mut file| {
            file.write_all(&text)?;
            file.sync_all()
        })
        .and_then(|()| fs::rename(&unfinished, &path))
        .and_then(|()| File::open(&directory)?.sync_all())
        .map_err(failed())
}

/// How learning has gone.
#[derive(Debug, Clone, PartialEq)]
pub struct Learned {
    /// The computation.
    pub computation: String,
    /// What is known now.
    pub summary: NoiseSummary,
    /// Clean runs that were learned from now.
    pub runs: u64,
    /// Runs that deviated, and were not learned from.
    pub deviating: u64,
    /// Places that just one run has shown, a few of them.
    pub shown_once: Vec<String>,
}

/// Learns the noise of a computation from clean runs: `runs` of them, or as many as it takes.
///
/// # Errors
/// The request cannot be done, machines are bit-exact and have no noise, or a machine failed.
pub async fn learn(
    session: &Session,
    request: RunRequest,
    runs: Option<u64>,
    told: &dyn Fn(&NoiseSummary),
) -> Result<Learned, ControlError> {
    /// Runs after which learning ends where it does not settle.
    const MOST_RUNS: u64 = 1_000;
    /// Of the places that one run has shown those that are named.
    const NAMED_PLACES: usize = 16;
    if request.machine.is_deterministic() {
        return Err(ControlError::OutOfRange(
            "noise of machines that are bit-exact: they have none".to_owned(),
        ));
    }
    let spec = request.machine.spec()?;
    let plan = request.plan(&session.host.cpus)?;
    let cpus = plan.cpus.first().map_or(&[0][..], Vec::as_slice);
    machine::see_usable(&session.hypervisor, &spec, cpus).await?;
    let cache = session.store_path.join("cache/machines");
    let machine = machine::prepare(&session.hypervisor, &cache, spec, cpus, &Silent).await?;
    let mut model = load(&session.store_path, key(&plan, &machine, session))?;
    let (mut done, mut deviating) = (0, 0);
    while done + deviating < runs.unwrap_or(MOST_RUNS) {
        if runs.is_none() && model.summary().settled {
            break;
        }
        let stall = Stall::of_run(model.runs, plan.replicas);
        let captured = replicas(session, &machine, &plan, stall).await?;
        let aligned = align_all(&machine, &captured, &NoMask)?;
        if let Some(why) = deviation(&captured, &aligned) {
            tracing::warn!(run = done + deviating, "a clean run deviated: {why}");
            deviating += 1;
        } else {
            model.learn(aligned.unexplained.iter());
            done += 1;
            told(&model.summary());
        }
        if done % RUNS_BETWEEN_SAVES == 0 {
            save(&session.store_path, &model)?;
        }
    }
    save(&session.store_path, &model)?;
    Ok(Learned {
        computation: plan.computation.name(),
        summary: model.summary(),
        runs: done,
        deviating,
        shown_once: model.shown_once(NAMED_PLACES),
    })
}

/// Runs all replicas of a plan; one may be held up.
pub(crate) async fn replicas(
    session: &Session,
    machine: &PreparedMachine,
    plan: &RunPlan,
    stall: Option<Stall>,
) -> Result<Vec<Captured>, ControlError> {
    let context = ReplicaContext {
        hypervisor: &session.hypervisor,
        root: &session.root,
        host: &session.host,
        machine,
        plan,
        progress: &Silent,
        export: None,
        whole: false,
        stall,
    };
    let mut captured: Vec<Captured> = stream::iter(0..plan.replicas)
        .map(|index| run_replica(&context, index, None))
        .buffer_unordered(plan.jobs as usize)
        .try_collect()
        .await?;
    captured.sort_by_key(|replica| replica.record.index);
    Ok(captured)
}

/// Why a run may not be learned from: not all ended, with the same result and the same in their buffers.
fn deviation(captured: &[Captured], aligned: &divergence::Aligned) -> Option<String> {
    let other = |one: &&Captured| one.record.outcome != Outcome::Ended;
    if let Some(one) = captured.iter().find(other) {
        return Some(format!(
            "replica {} {}",
            one.record.index, one.record.outcome
        ));
    }
    let results = captured.iter().map(|one| &one.record.result_digest);
    if results.collect::<HashSet<_>>().len() > 1 {
        return Some("the replicas put out different results".to_owned());
    }
    let said: HashSet<_> = aligned.registered.iter().collect();
    if said.len() > 1 {
        return Some("the replicas name different buffers".to_owned());
    }
    let word = aligned.in_buffers.first()?;
    Some(format!("{word} differs"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(kernel: &str) -> NoiseKey {
        NoiseKey {
            computation: "threads".to_owned(),
            computation_version: 1,
            kernel_digest: kernel.to_owned(),
            guest_digest: "guest".to_owned(),
            hypervisor: "qemu 10.0.2".to_owned(),
            accelerator: "tcg".to_owned(),
            cpu_model: "max".to_owned(),
            vcpus: 2,
            memory_bytes: 128 << 20,
        }
    }

    /// A file of the first format, as it was written then.
    const FIRST: &str = include_str!("../testdata/noise-1.json");

    #[test]
    fn the_first_format_is_read() {
        let store = tempfile::tempdir().unwrap();
        fs::create_dir(store.path().join("noise")).unwrap();
        fs::write(path(store.path(), &key("k")), FIRST).unwrap();
        let model = load(store.path(), key("k")).unwrap();
        assert_eq!(model.runs, 2);
        assert_eq!(model.summary().places, 1);
    }

    #[test]
    fn what_is_kept_is_read_and_expires_with_the_kernel() {
        let store = tempfile::tempdir().unwrap();
        let mut model = load(store.path(), key("k")).unwrap();
        assert_eq!(model.runs, 0);
        model.learn(std::iter::empty());
        save(store.path(), &model).unwrap();
        assert_eq!(load(store.path(), key("k")).unwrap(), model);
        assert_eq!(load(store.path(), key("another")).unwrap().runs, 0);
    }

    #[test]
    fn a_damaged_or_newer_file_is_refused() {
        let store = tempfile::tempdir().unwrap();
        save(store.path(), &NoiseModel::new(key("k"))).unwrap();
        let at = path(store.path(), &key("k"));
        let text = fs::read_to_string(&at).unwrap();
        fs::write(&at, text.replace("\"format\":1", "\"format\":2")).unwrap();
        let error = load(store.path(), key("k")).unwrap_err().to_string();
        assert!(error.contains("format 2"), "{error}");
        fs::write(&at, &text[..text.len() / 2]).unwrap();
        assert!(load(store.path(), key("k")).is_err());
    }
}
