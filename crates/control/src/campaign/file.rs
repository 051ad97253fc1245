//! The campaign file: what was planned, and every trial as it ended. Appended to, line by line, each
//! durable before the next trial begins; a line that a crash cut short is cut off.
//!
//! ```text
//! {"artefact":"vardoger-campaign","format":1,"id":…,"started":…,"plan":{…},"seal":…}
//! {"number":0,"computation":"sha256","fault":"ram flip","outcome":"detected","detail":…}
//! …
//! ```
//!
//! Whoever works on a campaign holds a lock on its file; a file beside it, `ID.stop`, asks that one
//! to stop.

use crate::campaign::grade::HintReport;
use crate::campaign::outcome::Tally;
use crate::campaign::pages::PageTally;
use crate::campaign::plan::CampaignPlan;
use crate::campaign::record::TrialRecord;
use crate::error::ControlError;
use model::Timestamp;
use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use uuid::Uuid;

/// What marks a file as a campaign's.
const ARTEFACT: &str = "vardoger-campaign";

/// The version of its lines.
const FORMAT: u32 = 1;

/// The longest file that is read: a million trials of 256 bytes, or some ten thousand with the evidence
/// that their hints were ranked from.
const MAX_BYTES: u64 = 256 << 20;

/// The first line.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Header {
    artefact: String,
    format: u32,
    /// The campaign's id.
    pub id: Uuid,
    /// When it was begun.
    pub started: Timestamp,
    /// What its trials are drawn from.
    pub plan: CampaignPlan,
    /// The BLAKE3 digest of the truth, known before the first trial.
    pub seal: String,
}

/// A campaign as its file tells it.
#[derive(Debug, Clone, PartialEq)]
pub struct Campaign {
    /// What was planned.
    pub header: Header,
    /// The trials that have ended, in the order in which they did.
    pub trials: Vec<TrialRecord>,
    /// Whether somebody is at work on it.
    pub running: bool,
}

impl Campaign {
    /// Whether all trials have ended.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.trials.len() as u64 >= u64::from(self.header.plan.trials)
    }

    /// The table of outcomes.
    #[must_use]
    pub fn tally(&self) -> Tally {
        let mut tally = Tally::default();
        for trial in &self.trials {
            tally.add(&trial.fault, trial.outcome);
        }
        tally
    }

    /// What hints were worth, in a campaign of them.
    #[must_use]
    pub fn hints(&self) -> Option<HintReport> {
        HintReport::of(self.trials.iter().filter_map(|trial| trial.hint.as_ref()))
    }

    /// What the checks of page lists have come to, in a campaign that has them.
    #[must_use]
    pub fn pages(&self) -> Option<PageTally> {
        PageTally::sum(self.trials.iter().filter_map(|trial| trial.pages.clone()))
    }

    /// The numbers of the trials that have ended.
    pub(super) fn done(&self) -> BTreeSet<u32> {
        self.trials.iter().map(|trial| trial.number).collect()
    }
}

/// A file that is being worked on, locked.
#[derive(Debug)]
pub(super) struct Journal {
    file: File,
    path: PathBuf,
}

/// All campaigns of a store.
#[derive(Debug, Clone)]
pub struct CampaignDirectory {
    path: PathBuf,
}

impl CampaignDirectory {
    /// The campaigns of a store.
    #[must_use]
    pub fn of_store(store: &Path) -> Self {
        Self {
            path: store.join("campaigns"),
        }
    }

    fn file(&self, id: Uuid) -> PathBuf {
        self.path.join(format!("{id}.ndjson"))
    }

    fn stop_file(&self, id: Uuid) -> PathBuf {
        self.path.join(format!("{id}.stop"))
    }

    /// Where the truth of a campaign is written when it has ended.
    #[must_use]
    pub fn truth_file(&self, id: Uuid) -> PathBuf {
        self.path.join(format!("{id}.truth.json"))
    }

    /// Begins a campaign: its header is durable when this returns.
    pub(super) fn begin(
        &self,
        (id, started): (Uuid, Timestamp),
        plan: CampaignPlan,
        seal: String,
    ) -> Result<(Journal, Campaign), ControlError> {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&self.path)
            .map_err(ControlError::file("make", &self.path))?;
        let path = self.file(id);
        let file = OpenOptions::new()
            .append(true)
            .create_new(true)
            .mode(0o600)
            .open(&path)
            .map_err(ControlError::file("make", &path))?;
        let mut journal = Journal { file, path };
        journal.lock()?;
        let header = Header {
            artefact: ARTEFACT.to_owned(),
            format: FORMAT,
            id,
            started,
            plan,
            seal,
        };
        journal.append(&header)?;
        File::open(&self.path)
            .and_then(|directory| directory.sync_all())
            .map_err(ControlError::file("write", &self.path))?;
        let campaign = Campaign {
            header,
            trials: Vec::new(),
            running: true,
        };
        Ok((journal, campaign))
    }

    /// Opens a campaign to go on with it. What a crash cut short is cut off.
    pub(super) fn resume(&self, id: Uuid) -> Result<(Journal, Campaign), ControlError> {
        let path = self.file(id);
        let file = OpenOptions::new()
            .append(true)
            .open(&path)
            .map_err(ControlError::file("open", &path))?;
        let journal = Journal { file, path };
        journal.lock()?;
        let (campaign, whole_bytes) = read(&journal.path)?;
        journal
            .file
            .set_len(whole_bytes)
            .map_err(ControlError::file("write", &journal.path))?;
        self.take_stop(id);
        let campaign = Campaign {
            running: true,
            ..campaign
        };
        Ok((journal, campaign))
    }

    /// Reads one campaign.
    ///
    /// # Errors
    /// Its file cannot be read or understood.
    pub fn load(&self, id: Uuid) -> Result<Campaign, ControlError> {
        let path = self.file(id);
        let (campaign, _) = read(&path)?;
        let file = File::open(&path).map_err(ControlError::file("open", &path))?;
        let free = flock(&file, FlockOperation::NonBlockingLockShared).is_ok();
        Ok(Campaign {
            running: !free,
            ..campaign
        })
    }

    /// The ids of all campaigns, newest first.
    ///
    /// # Errors
    /// The directory cannot be read.
    pub fn ids(&self) -> Result<Vec<Uuid>, ControlError> {
        let entries = match fs::read_dir(&self.path) {
            Ok(entries) => entries,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(ControlError::file("read", &self.path)(error)),
        };
        let mut ids: Vec<Uuid> = entries
            .flatten()
            .filter_map(|entry| {
                let name = entry.file_name();
                name.to_str()?.strip_suffix(".ndjson")?.parse().ok()
            })
            .collect();
        // Version 7 ids sort by the time that they were made.
        ids.sort_unstable_by(|one, other| other.cmp(one));
        Ok(ids)
    }

    /// Writes the truth beside a campaign that has ended.
    pub(super) fn tell_truth(&self, id: Uuid, truth: &[u8]) -> Result<(), ControlError> {
        let path = self.truth_file(id);
        OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&path)
            .and_then(|mut file| file.write_all(truth).and_then(|()| file.sync_all()))
            .map_err(ControlError::file("write", &path))
    }

    /// Asks whoever works on a campaign to stop after the trial at hand.
    ///
    /// # Errors
    /// The request cannot be written.
    pub fn ask_to_stop(&self, id: Uuid) -> Result<(), ControlError> {
        let path = self.stop_file(id);
        File::create(&path)
            .map(drop)
            .map_err(ControlError::file("make", &path))
    }

    /// Whether the one who works on a campaign was asked to stop.
    pub(super) fn must_stop(&self, id: Uuid) -> bool {
        self.stop_file(id).exists()
    }

    /// Takes a request to stop away.
    pub(super) fn take_stop(&self, id: Uuid) {
        let path = self.stop_file(id);
        if let Err(error) = fs::remove_file(&path)
            && error.kind() != std::io::ErrorKind::NotFound
        {
            tracing::warn!(path = %path.display(), %error, "a request to stop could not be removed");
        }
    }
}

impl Journal {
    fn lock(&self) -> Result<(), ControlError> {
        flock(&self.file, FlockOperation::NonBlockingLockExclusive).map_err(|error| {
            let busy = "another vardoger works on this campaign: `campaign stop` ends it";
            let error = match error {
                rustix::io::Errno::WOULDBLOCK => std::io::Error::other(busy),
                other => other.into(),
            };
            ControlError::file("lock", &self.path)(error)
        })
    }

    /// Appends one line; it is durable when this returns.
    pub(super) fn append(&mut self, line: &impl Serialize) -> Result<(), ControlError> {
        let mut text = serde_json::to_vec(line)
            .map_err(|error| ControlError::file("write", &self.path)(error.into()))?;
        text.push(b'\n');
        self.file
            .write_all(&text)
            .and_then(|()| self.file.sync_data())
            .map_err(ControlError::file("write", &self.path))
    }
}

/// Reads a campaign, and how many bytes of its file are whole lines.
fn read(path: &Path) -> Result<(Campaign, u64), ControlError> {
    let unreadable =
        |detail: &str| ControlError::file("read", path)(std::io::Error::other(detail.to_owned()));
    let bytes = fs::metadata(path)
        .map_err(ControlError::file("open", path))?
        .len();
    if bytes > MAX_BYTES {
        return Err(unreadable("it is longer than any campaign"));
    }
    let content = fs::read(path).map_err(ControlError::file("read", path))?;
    let whole = content
        .iter()
        .rposition(|&byte| byte == b'\n')
        .map_or(0, |at| at + 1);
    let mut lines = content
        .get(..whole)
        .unwrap_or_default()
        .split(|&byte| byte == b'\n');
    let header: Header = lines
        .next()
        .and_then(|line| serde_json::from_slice(line).ok())
        .filter(|header: &Header| header.artefact == ARTEFACT)
        .ok_or_else(|| unreadable("it does not open as a campaign does"))?;
    if header.format != FORMAT {
        let detail = format!(
            "it has format {}, and this vardoger reads {FORMAT}",
            header.format
        );
        return Err(unreadable(&detail));
    }
    let trials = lines
        .filter(|line| !line.is_empty())
        .map(serde_json::from_slice)
        .collect::<Result<Vec<TrialRecord>, _>>()
        .map_err(|error| unreadable(&error.to_string()))?;
    let campaign = Campaign {
        header,
        trials,
        running: false,
    };
    Ok((campaign, whole as u64))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::campaign::outcome::TrialOutcome;
    use crate::campaign::plan::{PlannedMachine, TrialKind};

    fn plan() -> CampaignPlan {
        CampaignPlan {
            seed: 1,
            kind: TrialKind::Fault,
            trials: 2,
            replicas: 3,
            machine: PlannedMachine::default(),
            place: None,
            check_pages: false,
            computations: Vec::new(),
        }
    }

    fn trial(number: u32) -> TrialRecord {
        TrialRecord {
            number,
            computation: "sha256".to_owned(),
            fault: "ram flip".to_owned(),
            outcome: TrialOutcome::Detected,
            detail: String::new(),
            hint: None,
            evidence: None,
            pages: None,
        }
    }

    fn begun(directory: &CampaignDirectory) -> (Journal, Uuid) {
        let id = Uuid::now_v7();
        let started = Timestamp::from_unix_ns(1);
        let (mut journal, _) = directory
            .begin((id, started), plan(), "seal".to_owned())
            .unwrap();
        journal.append(&trial(0)).unwrap();
        (journal, id)
    }

    #[test]
    fn what_was_appended_is_read_whatever_a_crash_cut_short() {
        let place = tempfile::tempdir().unwrap();
        let directory = CampaignDirectory::of_store(place.path());
        let (mut journal, id) = begun(&directory);
        journal.file.write_all(b"{\"number\":1,\"comp").unwrap();
        drop(journal);
        let read = directory.load(id).unwrap();
        assert_eq!(read.trials, [trial(0)]);
        assert!(!read.running && !read.is_complete());

        let (mut journal, _) = directory.resume(id).unwrap();
        journal.append(&trial(1)).unwrap();
        let read = directory.load(id).unwrap();
        assert_eq!(read.trials, [trial(0), trial(1)]);
        assert!(read.running && read.is_complete());
        assert_eq!(directory.ids().unwrap(), [id]);
    }

    #[test]
    fn two_do_not_work_on_one_campaign() {
        let place = tempfile::tempdir().unwrap();
        let directory = CampaignDirectory::of_store(place.path());
        let (_journal, id) = begun(&directory);
        let refused = directory.resume(id).unwrap_err().to_string();
        assert!(refused.contains("campaign stop"), "{refused}");
    }

    #[test]
    fn a_request_to_stop_holds_until_it_is_taken() {
        let place = tempfile::tempdir().unwrap();
        let directory = CampaignDirectory::of_store(place.path());
        let (journal, id) = begun(&directory);
        assert!(!directory.must_stop(id));
        directory.ask_to_stop(id).unwrap();
        assert!(directory.must_stop(id));
        drop(journal);
        directory.resume(id).unwrap();
        assert!(!directory.must_stop(id));
    }

    #[test]
    fn other_files_and_newer_formats_are_refused() {
        let place = tempfile::tempdir().unwrap();
        let directory = CampaignDirectory::of_store(place.path());
        let (_journal, id) = begun(&directory);
        let path = directory.file(id);
        let text = fs::read_to_string(&path).unwrap();
        for (from, to, says) in [
            ("\"format\":1", "\"format\":2", "format 2"),
            (ARTEFACT, "something", "does not open"),
            ("\"detected\"", "\"lost\"", "lost"),
        ] {
            fs::write(&path, text.replacen(from, to, 1)).unwrap();
            let refused = format!("{:?}", directory.load(id).unwrap_err());
            assert!(refused.contains(says), "{refused}");
        }
    }
}
