//! `cargo xtask fuzz [PARSER…]`: new inputs for each parser of our own, chosen by the coverage that
//! they bring (libFuzzer, on the stable toolchain), as a campaign that can be stopped and resumed.
//!
//! ```text
//! fuzz/driver, instrumented ─► a process for each parser, on CPU time that nobody else wants
//!     fuzz/seeds/PARSER ─► target/fuzz/corpus/PARSER   grows, and is gone on with by the next start
//!                          target/fuzz/found/PARSER    what made it panic, hang or grow
//!                          target/fuzz/result.json     CPU time, inputs, edges and findings so far
//!     fuzz/record.json         the same of campaigns on other machines, kept with the code
//! ```
//!
//! | module | holds |
//! |---|---|
//! | `driver` | the instrumented program |
//! | `stint` | one process of it, from its start to its end |
//! | `told` | what it tells of itself |
//! | `judge` | whether what it has put aside is a finding |
//! | `record` | the result file |
//!
//! Every parser comes to a few minutes before any comes to more, so that a campaign that is ended
//! early has seen all of them. Minutes are of CPU time: a busy machine makes a campaign longer, not
//! poorer. The last lines are a table; the exit code is 1 if anything was found. A finding is mended,
//! and put into `fuzz/seeds`, which every run of the tests reads.

mod driver;
mod judge;
mod record;
mod stint;
mod told;

use std::collections::BTreeSet;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use anyhow::{bail, ensure};
use clap::Args;

use driver::Driver;
use record::Record;

/// To how many minutes all parsers are brought before any is brought to more.
const ROUNDS_MINUTES: [u32; 3] = [1, 3, 10];

/// What to fuzz, and for how long.
#[derive(Debug, Args)]
pub(crate) struct Fuzz {
    /// Which parsers; all if none is named
    parsers: Vec<String>,
    /// Minutes of CPU time for each in all, those of earlier starts among them
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    minutes: u32,
    /// How many parsers side by side
    #[arg(long, default_value_t = NonZeroUsize::MIN)]
    jobs: NonZeroUsize,
    /// Forget what earlier starts have done; the inputs that they have found are kept
    #[arg(long)]
    anew: bool,
    /// Write what was done into `fuzz/record.json` too, which is kept with the code
    #[arg(long)]
    keep: bool,
}

/// Where everything lies.
#[derive(Debug)]
struct Places {
    /// The repository.
    root: PathBuf,
    /// What is made: `target/fuzz`.
    made: PathBuf,
}

impl Places {
    fn seeds(&self, parser: &str) -> PathBuf {
        self.root.join("fuzz/seeds").join(parser)
    }

    fn corpus(&self, parser: &str) -> PathBuf {
        self.made.join("corpus").join(parser)
    }

    fn found(&self, parser: &str) -> PathBuf {
        self.made.join("found").join(parser)
    }
}

/// A parser, and to how many minutes it is to be brought.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stint {
    parser: &'static str,
    minutes: u32,
}

/// Fuzzes the parsers that have not had their minutes.
pub(crate) fn run(what: &Fuzz) -> anyhow::Result<()> {
    let workspace = crate::workspace()?;
    let places = Places {
        root: workspace.workspace_root.into(),
        made: workspace.target_directory.join("fuzz").into(),
    };
    let chosen = chosen(&what.parsers)?;
    let driver = Driver::build(&places)?;
    let commit = driver::commit(&places.root);
    let mut record = Record::open(&places.made.join("result.json"), commit)?;
    let kept = places.root.join("fuzz/record.json");
    record.take_in(&kept)?;
    if what.anew {
        record.forget(&chosen);
    }
    let mut ended = BTreeSet::new();
    for parser in &chosen {
        if judge::again(&driver, &places, parser)? > 0 {
            ended.insert(*parser);
        }
        let had = record.cpu_seconds(parser) / 60.0;
        if had >= f64::from(what.minutes) {
            let minutes = what.minutes;
            crate::put_out(&format!(
                "fuzz {parser}: has had {had:.1} of {minutes} CPU minutes"
            ))?;
        }
    }
    let todo = stints(&chosen, what.minutes);
    let campaign = Campaign {
        places,
        driver,
        record: Mutex::new(record),
        board: Mutex::new(Board {
            todo,
            busy: BTreeSet::new(),
            ended,
        }),
        changed: Condvar::new(),
    };
    let outcomes: Vec<anyhow::Result<()>> = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..what.jobs.get())
            .map(|_| scope.spawn(|| campaign.work()))
            .collect();
        let joined = workers.into_iter().map(std::thread::ScopedJoinHandle::join);
        joined
            .map(|worker| worker.unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
            .collect()
    });
    outcomes.into_iter().collect::<anyhow::Result<()>>()?;
    let record = lock(&campaign.record);
    crate::put_out(&record.table(&chosen))?;
    if what.keep {
        record.write(&kept)?;
    }
    let mut findings = 0;
    for parser in &chosen {
        for path in judge::put_aside(&campaign.places, parser)? {
            crate::put_out(&format!("finding: {}", path.display()))?;
            findings += 1;
        }
    }
    ensure!(findings == 0, "{findings} findings (bound 0)");
    Ok(())
}

/// The parsers that are named, in the order of the table; all if none is.
fn chosen(named: &[String]) -> anyhow::Result<Vec<&'static str>> {
    let all = || fuzz::PARSERS.iter().map(|parser| parser.name);
    if let Some(unknown) = named.iter().find(|name| all().all(|one| one != **name)) {
        bail!(
            "no parser {unknown}: there are {}",
            all().collect::<Vec<_>>().join(", ")
        );
    }
    let is_chosen = |name: &&str| named.is_empty() || named.iter().any(|one| one == name);
    Ok(all().filter(is_chosen).collect())
}

/// What is to be done, round by round.
fn stints(parsers: &[&'static str], minutes: u32) -> Vec<Stint> {
    let rounds = ROUNDS_MINUTES.into_iter().filter(|round| *round < minutes);
    let each = rounds.chain([minutes]).flat_map(|minutes| {
        let parsers = parsers.iter();
        parsers.map(move |parser| Stint { parser, minutes })
    });
    each.collect()
}

/// What is left to do, and who is at it.
#[derive(Debug)]
struct Board {
    todo: Vec<Stint>,
    busy: BTreeSet<&'static str>,
    /// Parsers that something was found in: they would find the same again.
    ended: BTreeSet<&'static str>,
}

/// A campaign that is under way.
#[derive(Debug)]
struct Campaign {
    places: Places,
    driver: Driver,
    record: Mutex<Record>,
    board: Mutex<Board>,
    changed: Condvar,
}

impl Campaign {
    /// What one worker does: stints, until there are none.
    fn work(&self) -> anyhow::Result<()> {
        while let Some(stint) = self.next() {
            let done = stint::run(self, stint);
            let mut board = lock(&self.board);
            board.busy.remove(stint.parser);
            if !matches!(done, Ok(0)) {
                board.ended.insert(stint.parser);
            }
            drop(board);
            self.changed.notify_all();
            done?;
        }
        Ok(())
    }

    /// The next stint of a parser that nobody is at; none if there is none left.
    fn next(&self) -> Option<Stint> {
        let mut board = lock(&self.board);
        loop {
            let Board { todo, busy, ended } = &mut *board;
            todo.retain(|stint| !ended.contains(stint.parser));
            if let Some(place) = todo.iter().position(|one| !busy.contains(one.parser)) {
                let stint = todo.remove(place);
                busy.insert(stint.parser);
                return Some(stint);
            }
            if todo.is_empty() {
                return None;
            }
            let woken = self.changed.wait(board);
            board = woken.unwrap_or_else(PoisonError::into_inner);
        }
    }
}

/// What a panicking worker leaves is whole: each change of it is one statement.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_parsers_come_to_a_few_minutes_first() {
        let told: Vec<_> = stints(&["ext", "xfs"], 5)
            .into_iter()
            .map(|stint| (stint.parser, stint.minutes))
            .collect();
        let expected = [
            ("ext", 1),
            ("xfs", 1),
            ("ext", 3),
            ("xfs", 3),
            ("ext", 5),
            ("xfs", 5),
        ];
        assert_eq!(told, expected);
        assert_eq!(stints(&["ext"], 1).len(), 1);
    }

    #[test]
    fn parsers_are_named_or_all() {
        assert_eq!(chosen(&[]).unwrap().len(), fuzz::PARSERS.len());
        let named = ["qcow2".to_owned(), "ext".to_owned()];
        assert_eq!(chosen(&named).unwrap(), ["ext", "qcow2"]);
        assert!(chosen(&["no".to_owned()]).is_err());
    }
}
