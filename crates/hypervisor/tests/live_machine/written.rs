//! A machine of one disk that the test writes to: what a capture has to tell is known.

use crate::machine::{Machine, create};
use crate::{BLOCK, dirty, request};
use hypervisor::live::{
    Base, CaptureRequest, Changed, Label, LiveDisks, LiveMachine, Outcome, PointInTime, Resync,
};
use std::ops::Range;
use tempfile::TempDir;

/// A machine of one disk, and what was written to it since the last acknowledged capture.
pub(crate) struct Written {
    pub(crate) place: TempDir,
    pub(crate) machine: Machine,
    pub(crate) base: Option<Base>,
    pub(crate) since: Vec<Range<u64>>,
    pub(crate) captures: u32,
    pub(crate) blocks: u64,
}

impl Written {
    pub(crate) fn start(format: &str) -> Self {
        let place = tempfile::tempdir().unwrap();
        create(&place.path().join("disk"), format, 64 << 20);
        let machine = Self::machine(&place, format);
        Self {
            place,
            machine,
            base: None,
            since: Vec::new(),
            captures: 0,
            blocks: 0,
        }
    }

    pub(crate) fn machine(place: &TempDir, format: &str) -> Machine {
        let path = place.path().join("disk");
        let drive = format!("if=none,id=disk,format={format},file={}", path.display());
        Machine::of_disks(place.path(), &[&drive])
    }

    pub(crate) async fn connect(&self) -> LiveMachine {
        LiveMachine::connect(&self.machine.socket).await.unwrap()
    }

    /// Writes to a block that nothing was written to before.
    pub(crate) fn write(&mut self) {
        let offset = 2 * self.blocks * BLOCK;
        self.blocks += 1;
        self.machine.write("disk", offset, BLOCK, 7);
        self.since.push(offset..offset + BLOCK);
    }

    pub(crate) fn request(&mut self) -> CaptureRequest {
        self.captures += 1;
        let note = format!("n{}", self.captures);
        request(self.place.path(), &note, &[("disk", self.base.clone())])
    }

    pub(crate) fn acknowledge(&mut self, note: &Label) {
        self.base = Some(Base {
            note: note.clone(),
            size_bytes: 64 << 20,
            process: None,
        });
        self.since.clear();
    }

    /// Begins a capture, which must tell just what was written since the last acknowledged one.
    pub(crate) async fn check_begin(&mut self, live: &mut LiveMachine) -> (Label, PointInTime) {
        let request = self.request();
        let point = live.begin(&request).await.unwrap();
        let disk = &point.disks[0];
        assert!(
            matches!(disk.changed, Changed::Dirty { .. }),
            "{:?}",
            disk.changed
        );
        assert_eq!(dirty(&point, disk), self.since, "before {}", request.note);
        (request.note, point)
    }

    /// A capture from begin to end.
    pub(crate) async fn check_capture(&mut self, live: &mut LiveMachine) {
        let (note, point) = self.check_begin(live).await;
        live.finish(point, Outcome::Kept).await.unwrap();
        self.acknowledge(&note);
    }

    /// A capture of everything, and why.
    pub(crate) async fn capture_all(&mut self, live: &mut LiveMachine) -> Resync {
        let request = self.request();
        let point = live.begin(&request).await.unwrap();
        let Changed::All(reason) = point.disks[0].changed else {
            panic!("{:?}", point.disks[0].changed);
        };
        live.finish(point, Outcome::Kept).await.unwrap();
        self.acknowledge(&request.note);
        reason
    }

    /// Starts the machine anew after it was ended.
    pub(crate) fn restart(&mut self, format: &str, end: impl FnOnce(Machine)) {
        let place = tempfile::tempdir().unwrap();
        let none = Machine::of_disks(place.path(), &[]);
        end(std::mem::replace(&mut self.machine, none));
        self.machine = Self::machine(&self.place, format);
    }
}
