//! `cargo xtask office --disk DISK --monitor SOCKET`: a Linux machine that works on the files of a disk.
//! The demo shadows that disk while it does.
//!
//! Each line on stdin is done by the machine's shell, in the disk's root; when it is done and on the
//! disk, a line `done` comes on stdout. The machine goes off when stdin ends, and when we do.

use anyhow::Context;
use std::io::BufRead;
use std::path::PathBuf;
use workshop::{Disk, Workshop};

/// What the machine does.
const SCRIPT: &str = r#"
mkdir /srv
mount /dev/vda /srv
cd /srv
mark ready
while line=$(hear) && [ "$line" != home ]; do
    sh -eu -c "$line"
    sync
    mark done
done
cd /
"#;

/// A machine that is to work.
#[derive(Debug, clap::Args)]
pub(crate) struct Office {
    /// Its disk: a raw image with an ext4 file system
    #[arg(long)]
    disk: PathBuf,
    /// Where its monitor's socket is to be
    #[arg(long)]
    monitor: PathBuf,
}

/// Lets the machine work.
pub(crate) fn run(office: &Office) -> anyhow::Result<()> {
    let monitor = format!("unix:{},server=on,wait=off", office.monitor.display());
    let machine = Workshop::new()
        .disk(Disk::raw(&office.disk))
        .argument("-qmp")
        .argument(monitor);
    let mut guest = machine.boot(SCRIPT)?;
    guest.wait_for("ready")?;
    crate::put_out("ready")?;
    for line in std::io::stdin().lock().lines() {
        guest.say(&line.context("cannot read what the machine is to do")?)?;
        guest.wait_for("done")?;
        crate::put_out("done")?;
    }
    guest.say("home")?;
    guest.end()?.good().map(drop)
}
