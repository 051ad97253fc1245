//! Machines with a disk: recorders and followers.

use crate::provider::{FEW_STEPS, Provider, ended};
use crate::support::{PATIENCE, chain, kept_machines, order, run_on};
use anyhow::{Context, ensure};
use computation::job::StopBy;
use control::Silent;
use control::machine;
use hypervisor::{Course, DiskFormat, DiskImage, Domain};
use std::io::Read;
use std::os::unix::fs::FileExt;

/// A disk of nothing.
const DISK_BYTES: u64 = 1 << 20;

pub(crate) async fn a_follower_does_what_was_recorded(
    provider: &dyn Provider,
) -> anyhow::Result<()> {
    let (hypervisor, cpus) = (provider.hypervisor(), [provider.cpu()]);
    let spec = machine::disk_spec()?;
    let machine = machine::prepare(hypervisor, kept_machines(), spec, &cpus, &Silent).await?;
    let image = tempfile::NamedTempFile::new()?;
    image.as_file().set_len(DISK_BYTES)?;
    let disk = DiskImage {
        path: image.path().to_path_buf(),
        format: DiskFormat::Raw,
        disk_bytes: DISK_BYTES,
    };
    let mut job = chain(FEW_STEPS, &[]);
    job.stop_by = StopBy::Signal;

    let (spec, snapshot) = (&machine.spec, &machine.snapshot);
    let recorder = hypervisor.restore_with_disk(spec, snapshot, &cpus, (&disk, Course::Record));
    let mut recorder = recorder.await?;
    order(recorder.as_mut(), &machine, &job)?;
    ensure!(ended(&run_on(recorder.as_mut()).await?));
    let recorded = end_of(recorder.as_mut()).await?;
    let recording = recorder.recording(PATIENCE).await?;
    ensure!(recording.instructions() > 0);

    let course = Course::Follow(&recording);
    let mut follower = hypervisor
        .restore_with_disk(spec, snapshot, &cpus, (&disk, course))
        .await?;
    order(follower.as_mut(), &machine, &job)?;
    ensure!(ended(&run_on(follower.as_mut()).await?));
    ensure!(follower.is_there());
    ensure!(end_of(follower.as_mut()).await? == recorded);
    let pattern = b"written past the guest";
    follower.write_disk(0x1_2345, pattern).await?;
    let mut changes = Vec::new();
    let mut file = follower.disk_changes()?.context("it has a disk")?;
    file.read_to_end(&mut changes)?;
    ensure!(changes.windows(pattern.len()).any(|part| part == pattern));
    Ok(())
}

/// Registers, changed pages, and the first bytes of what was written to the disk.
async fn end_of(
    domain: &mut dyn Domain,
) -> anyhow::Result<(hypervisor::RegisterSet, hypervisor::ChangedPages, [u8; 4])> {
    let mut magic = [0; 4];
    let changes = domain.disk_changes()?.context("it has a disk")?;
    changes.read_exact_at(&mut magic, 0)?;
    ensure!(magic == *b"QFI\xfb");
    Ok((domain.registers().await?, domain.changed_pages()?, magic))
}
