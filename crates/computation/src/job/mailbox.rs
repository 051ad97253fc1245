//! The mailbox: how a job is laid into guest memory.
//!
//! ```text
//! 0      7        11
//! │VDJOB1\n│ u32 LE │ JSON …            16 KiB in 4 pages, which need not be neighbours
//! ```

use super::text::safe_name;
use super::{CommandJob, Job, JobError, Mark, PROTOCOL, ProgramJob};

/// Pages of the mailbox: a job with all its stops needs less than one; the rest is for later ones.
pub const MAILBOX_PAGES: usize = 4;
/// Bytes of the mailbox.
pub const MAILBOX_BYTES: usize = MAILBOX_PAGES * model::PAGE_BYTES;
/// The most steps of a job. At a microsecond each they take twelve days: beyond any budget, and far
/// from where counts overflow.
pub const MAX_STEPS: u64 = 1 << 40;
/// The most stops of a job: each is a fault to be injected or a state to be taken.
pub const MAX_STOPS: usize = 64;

const MAGIC: &[u8; 7] = b"VDJOB1\n";
const LENGTH_BYTES: usize = 4;
const MAX_JSON_BYTES: usize = MAILBOX_BYTES - MAGIC.len() - LENGTH_BYTES;

/// The mailbox's content for a job: at most [`MAILBOX_BYTES`].
///
/// # Errors
/// The job is not one that a guest would accept, or does not fit.
pub fn encode_job(job: &Job) -> Result<Vec<u8>, JobError> {
    check(job)?;
    let json = serde_json::to_vec(job)?;
    if json.len() > MAX_JSON_BYTES {
        return Err(too_long(json.len()));
    }
    let length = u32::try_from(json.len()).map_err(|_| too_long(json.len()))?;
    Ok([&MAGIC[..], &length.to_le_bytes(), &json].concat())
}

/// The job in a mailbox; what follows its JSON is ignored.
///
/// # Errors
/// There is no job, or one that cannot be done.
pub fn decode_job(mailbox: &[u8]) -> Result<Job, JobError> {
    let rest = mailbox.strip_prefix(MAGIC).ok_or(JobError::NoMagic)?;
    let (length, rest) = rest.split_first_chunk().ok_or(JobError::NoMagic)?;
    let length = u32::from_le_bytes(*length) as usize;
    let json = rest.get(..length).ok_or_else(|| too_long(length))?;
    let job = serde_json::from_slice(json)?;
    check(&job)?;
    Ok(job)
}

fn too_long(found: usize) -> JobError {
    let limit = MAX_JSON_BYTES;
    JobError::TooLong { found, limit }
}

fn check(job: &Job) -> Result<(), JobError> {
    if job.protocol != PROTOCOL {
        let found = job.protocol;
        return Err(JobError::Protocol { found });
    }
    if safe_name(&job.computation) != job.computation {
        return Err(JobError::Name);
    }
    if job.steps == 0 || job.steps > MAX_STEPS {
        return Err(JobError::Steps { found: job.steps });
    }
    if job.stops.len() > MAX_STOPS {
        let found = job.stops.len();
        return Err(JobError::TooManyStops { found });
    }
    job.program.as_ref().map_or(Ok(()), ProgramJob::check)?;
    job.command.as_ref().map_or(Ok(()), CommandJob::check)?;
    if job.program.is_some() || job.command.is_some() {
        // Nobody can know where half of a stranger's program is.
        let unknown = |mark: &&Mark| !matches!(mark, Mark::Start | Mark::End);
        if let Some(&mark) = job.stops.iter().find(unknown) {
            return Err(JobError::NoSuchMark { mark });
        }
    }
    let after_end = |mark: &&Mark| mark.at(job.steps) > job.steps;
    match job.stops.iter().find(after_end) {
        None => Ok(()),
        Some(&mark) => Err(JobError::StopAfterEnd {
            mark,
            steps: job.steps,
        }),
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::StopBy;
    use super::*;
    use proptest::prelude::*;

    pub(in crate::job) fn mark() -> impl Strategy<Value = Mark> {
        prop_oneof![
            Just(Mark::Start),
            Just(Mark::Half),
            Just(Mark::End),
            any::<u64>().prop_map(Mark::Step),
        ]
    }

    fn job() -> impl Strategy<Value = Job> {
        let name = "[a-z][a-z0-9._-]{0,63}";
        let stops = proptest::collection::vec(mark(), 0..=MAX_STOPS);
        let program = proptest::option::of(super::super::program::tests::program());
        let steps = 1..=MAX_STEPS;
        (name, any::<u64>(), steps, stops, program).prop_map(
            |(computation, seed, steps, mut stops, program)| {
                if program.is_some() {
                    stops.retain(|mark| matches!(mark, Mark::Start | Mark::End));
                }
                let clip = |mark| match mark {
                    Mark::Step(step) => Mark::Step(step % (steps + 1)),
                    other => other,
                };
                Job {
                    protocol: PROTOCOL,
                    computation,
                    seed,
                    steps,
                    stops: stops.into_iter().map(clip).collect(),
                    stop_by: StopBy::Waypoint,
                    program,
                    command: None,
                }
            },
        )
    }

    fn example() -> Job {
        Job {
            protocol: PROTOCOL,
            computation: "sha256".to_owned(),
            seed: u64::MAX,
            steps: 240,
            stops: vec![Mark::Half, Mark::Step(7)],
            stop_by: StopBy::Signal,
            program: None,
            command: None,
        }
    }

    #[test]
    fn the_layout_is_fixed() {
        let json = br#"{"protocol":1,"computation":"sha256","seed":18446744073709551615,"steps":240,"stops":["half","step:7"],"stop_by":"signal"}"#;
        let expected = [b"VDJOB1\n", &[json.len() as u8, 0, 0, 0][..], json].concat();
        assert_eq!(encode_job(&example()).unwrap(), expected);
    }

    #[test]
    fn bad_jobs_are_refused_on_both_sides() {
        let refused = |change: fn(&mut Job)| {
            let mut job = example();
            change(&mut job);
            let json = serde_json::to_vec(&job).unwrap();
            let length = (json.len() as u32).to_le_bytes();
            let read = decode_job(&[MAGIC, &length[..], &json].concat()).unwrap_err();
            assert_eq!(encode_job(&job).unwrap_err().to_string(), read.to_string());
            read.to_string()
        };
        assert_eq!(
            refused(|j| j.protocol = 2),
            "job has protocol 2, this program speaks 1"
        );
        assert_eq!(
            refused(|j| j.computation = "a/b".into()),
            "job names no computation"
        );
        assert_eq!(
            refused(|j| j.steps = 0),
            "job has 0 steps, not 1 to 1099511627776"
        );
        assert_eq!(
            refused(|j| j.stops = vec![Mark::Step(241)]),
            "stop step:241 lies after the end of 240 steps"
        );
        assert_eq!(
            refused(|j| j.stops = vec![Mark::Half; 65]),
            "job has 65 stops, at most 64 are allowed"
        );
    }

    #[test]
    fn an_empty_or_lying_mailbox_is_refused() {
        assert!(matches!(
            decode_job(&[0; MAILBOX_BYTES]),
            Err(JobError::NoMagic)
        ));
        let lying = [&MAGIC[..], &[255; 8]].concat();
        assert!(matches!(decode_job(&lying), Err(JobError::TooLong { .. })));
    }

    proptest! {
        #[test]
        fn a_mailbox_reads_what_was_written(job in job(), tail: Vec<u8>) {
            let mut mailbox = encode_job(&job).unwrap();
            prop_assert!(mailbox.len() <= MAILBOX_BYTES);
            mailbox.extend(tail);
            prop_assert_eq!(decode_job(&mailbox).unwrap(), job);
        }

        #[test]
        fn no_mailbox_makes_it_panic(bytes: Vec<u8>, job in job(), damage: Vec<(prop::sample::Index, u8)>) {
            prop_assert!(decode_job(&bytes).is_err());
            let mut mailbox = encode_job(&job).unwrap();
            for (place, mask) in damage {
                let place = place.index(mailbox.len());
                mailbox[place] ^= mask;
            }
            if let Ok(job) = decode_job(&mailbox) {
                prop_assert_eq!(decode_job(&encode_job(&job).unwrap()).unwrap(), job);
            }
        }
    }
}
