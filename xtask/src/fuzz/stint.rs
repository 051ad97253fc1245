//! One parser brought to some minutes of CPU time: processes of the fuzzer, one after the other, until
//! it has had them or something is found.
//!
//! How much CPU time a process has had is looked up while it runs, and noted every few seconds, so that
//! whatever is killed loses no more than those; and once more when it has ended, before it is forgotten.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, ExitStatus};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process, waitid};

use super::told::Told;
use super::{Campaign, Stint, judge, lock, record};

/// How often a process is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// How often the result file is written.
const NOTE_EVERY: Duration = Duration::from_secs(15);

/// How many of its last lines are shown of a process that has failed.
const LINES_SHOWN: usize = 40;

/// Brings a parser to its minutes, and says how many findings there are.
pub(super) fn run(campaign: &Campaign, stint: Stint) -> anyhow::Result<usize> {
    let Stint { parser, minutes } = stint;
    let wanted_s = f64::from(minutes) * 60.0;
    let before = lock(&campaign.record).parser(parser);
    if before.cpu_s >= wanted_s {
        return Ok(0);
    }
    for directory in [
        campaign.places.corpus(parser),
        campaign.places.found(parser),
    ] {
        std::fs::create_dir_all(&directory)
            .with_context(|| format!("cannot create {}", directory.display()))?;
    }
    let mut findings = 0;
    let mut now = before;
    while findings == 0 && now.cpu_s < wanted_s {
        let ended = Process::start(campaign, parser, now.clone())?.watch(wanted_s)?;
        let put_aside = judge::put_aside(&campaign.places, parser)?.len();
        findings = judge::sift(&campaign.driver, &campaign.places, parser)?;
        if !ended.status.success() {
            // What was only slow on a busy machine has ended it, and is gone.
            let shown = ended.last.join("\n");
            ensure!(
                put_aside > 0,
                "the fuzzer of {parser} ended with {}:\n{shown}",
                ended.status
            );
            if findings > 0 {
                eprintln!("{shown}");
            }
        }
        let mut record = lock(&campaign.record);
        record.note(parser, &now, (ended.cpu_s, ended.told), findings)?;
        now = record.parser(parser);
    }
    let record::Parser {
        inputs,
        edges,
        edges_all,
        cpu_s,
        ..
    } = now;
    crate::put_out(&format!(
        "fuzz {parser}: {inputs} inputs, {edges} of the program's {edges_all} edges, \
         {:.1} CPU minutes, {findings} findings (bound 0)",
        cpu_s / 60.0
    ))?;
    Ok(findings)
}

/// What was heard of a process: what it told last, and its last lines.
type Heard = Arc<Mutex<(Told, Vec<String>)>>;

/// A process of the fuzzer.
#[derive(Debug)]
struct Process<'c> {
    campaign: &'c Campaign,
    parser: &'static str,
    before: record::Parser,
    child: Child,
    pid: Pid,
    heard: Heard,
    listener: std::thread::JoinHandle<()>,
}

/// How a process has ended.
#[derive(Debug)]
struct Ended {
    status: ExitStatus,
    cpu_s: f64,
    told: Told,
    last: Vec<String>,
}

impl<'c> Process<'c> {
    fn start(
        campaign: &'c Campaign,
        parser: &'static str,
        before: record::Parser,
    ) -> anyhow::Result<Self> {
        let mut command = campaign.driver.fuzzing(parser, &campaign.places);
        let mut child = command
            .spawn()
            .with_context(|| format!("cannot start {command:?}"))?;
        let said = child.stderr.take().context("a fuzzer has no output")?;
        let heard = Heard::default();
        let to = Arc::clone(&heard);
        let listener = std::thread::spawn(move || listen(said, &to));
        let pid = Pid::from_child(&child);
        Ok(Self {
            campaign,
            parser,
            before,
            child,
            pid,
            heard,
            listener,
        })
    }

    /// Watches it until it ends, which it is asked to once its parser has had its time.
    fn watch(self, wanted_s: f64) -> anyhow::Result<Ended> {
        let mut noted = Instant::now();
        let mut is_asked = false;
        loop {
            let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
            let has_ended = waitid(WaitId::Pid(self.pid), options)
                .context("cannot wait for a fuzzer")?
                .is_some();
            let cpu_s = judge::cpu_seconds(self.pid)?;
            if has_ended {
                return self.end(cpu_s);
            }
            if !is_asked && self.before.cpu_s + cpu_s >= wanted_s {
                // Its last input is read to the end, and its numbers are told.
                kill_process(self.pid, Signal::USR1).context("cannot end a fuzzer")?;
                is_asked = true;
            }
            if noted.elapsed() >= NOTE_EVERY {
                let told = lock(&self.heard).0;
                let mut record = lock(&self.campaign.record);
                record.note(self.parser, &self.before, (cpu_s, told), 0)?;
                noted = Instant::now();
            }
            std::thread::sleep(LOOK_EVERY);
        }
    }

    fn end(mut self, cpu_s: f64) -> anyhow::Result<Ended> {
        let status = self.child.wait().context("cannot wait for a fuzzer")?;
        if let Err(panic) = self.listener.join() {
            std::panic::resume_unwind(panic);
        }
        let (told, last) = std::mem::take(&mut *lock(&self.heard));
        Ok(Ended {
            status,
            cpu_s,
            told,
            last,
        })
    }
}

fn listen(said: impl Read, heard: &Heard) {
    let lines = BufReader::new(said).split(b'\n').map_while(Result::ok);
    for line in lines {
        let line = String::from_utf8_lossy(&line).into_owned();
        let (told, last) = &mut *lock(heard);
        told.hear(&line);
        last.push(line);
        last.drain(..last.len().saturating_sub(LINES_SHOWN));
    }
}
