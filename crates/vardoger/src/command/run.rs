//! `run start`, `run ls`, `run show`; `run diff` and `run export` stand in [`super::saved`].

use crate::args::{Global, KeepArg, RunVerb, StartArgs};
use crate::command::worker;
use crate::failure::Failure;
use crate::output::Sink;
use crate::progress::Bar;
use crate::report::html::Subject;
use crate::{config, notify, output, report, session};
use computation::{Sensitivity, Target, find, select};
use control::command::{CommandRequest, CommandSource};
use control::image::WorkerProgram;
use control::injection::Injection;
use control::program::ProgramRequest;
use control::{Command, Computation, ControlError, Keep, Program, RunRequest, Session};
use model::{Run, Verdict};
use schema::{Document, RunDocument, RunListDocument, RunRow};
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::process::ExitCode;
use std::sync::Arc;
use store::{FindingFilter, RunState, RunSummary, Store};

/// Findings of one run that a page is given: one for each replica, and some metrics.
const FINDINGS_OF_A_RUN: u32 = 128;

/// Carries one verb out.
pub(crate) async fn execute(global: &Global, verb: &RunVerb) -> Result<ExitCode, Failure> {
    match verb {
        RunVerb::Start(arguments) => start(global, arguments).await,
        RunVerb::Ls { limit } => ls(global, *limit).await,
        RunVerb::Show { run, out } => show(global, run, out.as_deref()).await,
        RunVerb::Diff(arguments) => super::saved::diff(global, arguments).await,
        RunVerb::Export(arguments) => super::saved::export(global, arguments).await,
    }
}

/// Runs every computation that was named or chosen; the worst verdict is the exit code.
async fn start(global: &Global, arguments: &StartArgs) -> Result<ExitCode, Failure> {
    let requests = requests(arguments)?;
    let mut printer = Printer::open(global, arguments.out.as_deref())?;
    let target = arguments.notify.as_deref().map(target).transpose()?;
    let mut interruption = pin!(session::interruption());
    let opened = session::open(global, interruption.as_mut()).await?;
    let mut worst = 0;
    for request in requests {
        let bar = Bar::new(request.replicas, global.quiet);
        let run = control::run::start(&opened, request, &bar, interruption.as_mut()).await;
        bar.finish();
        let mut run = run?;
        if let Some(target) = &target {
            run.warnings.extend(notified(&opened, target, &run).await);
        }
        worst = worse(worst, exit_code(run.verdict));
        printer.print(run, &opened.store).await?;
    }
    printer.close()?;
    Ok(ExitCode::from(worst))
}

/// Where findings go, with the authorities that environment and configuration name.
fn target(url: &str) -> Result<notify::Target, Failure> {
    let authorities = notify::authorities::file(config::load()?.notify_ca_file);
    notify::Target::parse(url, authorities.as_deref())
}

/// Tells the target of a run's findings; gives the warning where it could not be told.
async fn notified(session: &Session, target: &notify::Target, run: &Run) -> Option<String> {
    let filter = FindingFilter {
        run: Some(run.id),
        ..FindingFilter::default()
    };
    match session.store.findings(filter).await {
        Ok(findings) => notify::notify(target, run, &findings).await,
        Err(error) => Some(format!("{target} was not notified: {error}")),
    }
}

pub(super) fn exit_code(verdict: Verdict) -> u8 {
    match verdict {
        Verdict::Pass => 0,
        Verdict::Deviates => 3,
        Verdict::Inconclusive | Verdict::Skipped => 6,
    }
}

/// A finding outweighs what could not be decided.
fn worse(one: u8, other: u8) -> u8 {
    let weight = |code| match code {
        3 => 2,
        6 => 1,
        _ => 0,
    };
    if weight(other) > weight(one) {
        other
    } else {
        one
    }
}

/// What the flags ask for: one request for each computation.
fn requests(arguments: &StartArgs) -> Result<Vec<RunRequest>, Failure> {
    let source = source(arguments);
    let parse = if arguments.program.is_some() || source.is_some() {
        Injection::parse_for_program
    } else {
        Injection::parse
    };
    let injections = arguments
        .inject
        .iter()
        .map(|text| parse(text))
        .collect::<Result<Vec<_>, _>>()
        .map_err(ControlError::from)?;
    let picks = picks(arguments)?;
    let share = 1.0 / (picks.len() as f64 * f64::from(arguments.replicas.max(1)));
    let chosen = arguments.computation.is_none() && arguments.program.is_none() && source.is_none();
    Ok(picks
        .into_iter()
        .map(|(computation, choice)| RunRequest {
            computation,
            choice,
            replicas: arguments.replicas,
            seed: arguments.seed,
            budget_s: arguments.budget.map(|budget| {
                // A named computation's budget is one replica's; a chosen set shares it.
                let seconds = budget.as_secs_f64();
                if chosen { seconds * share } else { seconds }
            }),
            jobs: arguments.jobs,
            cpus: None,
            injections: injections.clone(),
            keep: match arguments.keep {
                KeepArg::Differing => Keep::Differing,
                KeepArg::All => Keep::All,
            },
            timeout: arguments.timeout,
            multiplier: arguments.multiplier,
            machine: arguments.machine.into(),
            investigate: arguments.investigate,
        })
        .collect())
}

type Pick = (Computation, Option<String>);

fn picks(arguments: &StartArgs) -> Result<Vec<Pick>, Failure> {
    // Said here: a rule of the parser would be overruled by the named computation.
    if let Some((flag, source)) = source(arguments) {
        return Ok(vec![(command(arguments, flag, source)?, None)]);
    }
    let given = !arguments.file.is_empty() || !arguments.arguments.is_empty();
    if arguments.program.is_none() && (given || arguments.stdin.is_some()) {
        return Err(Failure::usage(
            "--file, --stdin and arguments are for a program of yours".to_owned(),
            Some("name it with --program".to_owned()),
        ));
    }
    if let Some(name) = &arguments.computation {
        let found = find(name).ok_or_else(|| super::computation::unknown(name))?;
        return Ok(vec![(found.into(), None)]);
    }
    if let Some(path) = &arguments.program {
        let program = Program::load(&ProgramRequest {
            path: path.clone(),
            arguments: arguments.arguments.clone(),
            files: arguments.file.clone(),
            stdin: arguments.stdin.clone(),
        })?;
        return Ok(vec![(Computation::Program(Arc::new(program)), None)]);
    }
    let usage = |error: String| Failure::usage(error, None);
    let target: Option<Target> = arguments
        .target
        .as_deref()
        .map(str::parse)
        .transpose()
        .map_err(|error| usage(format!("--target: {error}")))?;
    let sensitivity: Option<Sensitivity> = arguments
        .sensitivity
        .as_deref()
        .map(str::parse)
        .transpose()
        .map_err(|error| usage(format!("--sensitivity: {error}")))?;
    let selection = select(target, sensitivity).map_err(|error| usage(error.to_string()))?;
    let picks = selection.picks.into_iter();
    Ok(picks
        .map(|(computation, why)| (computation.into(), Some(why)))
        .collect())
}

/// Where a command is to run, and the flag that says so.
fn source(arguments: &StartArgs) -> Option<(&'static str, CommandSource)> {
    let disk = arguments.disk.clone().map(|image| {
        let format = arguments.format;
        ("--disk IMAGE", CommandSource::Image { image, format })
    });
    let rootfs = arguments.rootfs.clone();
    disk.or_else(|| rootfs.map(|path| ("--rootfs DIR", CommandSource::RootFileSystem(path))))
}

/// The command in a disk.
fn command(
    arguments: &StartArgs,
    flag: &str,
    source: CommandSource,
) -> Result<Computation, Failure> {
    if arguments.arguments.is_empty() {
        return Err(Failure::usage(
            format!("{flag} needs a command that is to run in it"),
            Some(format!(
                "it follows --, as in: run start {flag} -- sha256sum /etc/passwd"
            )),
        ));
    }
    let command = Command::load(&CommandRequest {
        source,
        words: arguments.arguments.clone(),
        worker: WorkerProgram {
            program: PathBuf::from(worker::PROGRAM),
            arguments: worker::IMAGE,
        },
    })?;
    Ok(Computation::Command(Arc::new(command)))
}

async fn ls(global: &Global, limit: u32) -> Result<ExitCode, Failure> {
    let store = session::store(global).await?;
    let runs = store.runs(limit).await.map_err(ControlError::from)?;
    if global.json() {
        let runs = runs.iter().map(row).collect();
        output::document(global, &Document::new(RunListDocument { runs }))?;
    } else if runs.is_empty() {
        output::text("no runs yet: `vardoger run start sha256` makes one\n")?;
    } else {
        let head = [
            "run",
            "started",
            "computation",
            "replicas",
            "verdict",
            "reason",
        ];
        let mut rows = vec![head.map(str::to_owned).to_vec()];
        rows.extend(runs.iter().map(cells));
        output::text(&report::table(&rows))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn state(summary: &RunSummary) -> String {
    match (summary.verdict, summary.state) {
        (Some(verdict), _) => verdict.to_string(),
        (None, RunState::Running) => "running".to_owned(),
        (None, RunState::Abandoned | RunState::Ended | RunState::Failed) => "failed".to_owned(),
    }
}

fn cells(summary: &RunSummary) -> Vec<String> {
    vec![
        summary.id.to_string(),
        summary.started.to_string().chars().take(19).collect(),
        summary.computation.clone(),
        summary.replicas.to_string(),
        state(summary),
        summary.reason.clone().unwrap_or_default(),
    ]
}

fn row(summary: &RunSummary) -> RunRow {
    RunRow {
        id: summary.id.to_string(),
        computation: summary.computation.clone(),
        replicas: summary.replicas,
        started: summary.started.to_string(),
        ended: summary.ended.map(|moment| moment.to_string()),
        state: match summary.state {
            RunState::Running => "running",
            RunState::Abandoned => "abandoned",
            RunState::Ended => "ended",
            RunState::Failed => "failed",
        }
        .to_owned(),
        verdict: summary.verdict.map(|verdict| verdict.to_string()),
        reason: summary.reason.clone(),
        findings: summary.findings,
    }
}

async fn show(global: &Global, reference: &str, out: Option<&Path>) -> Result<ExitCode, Failure> {
    let mut printer = Printer::open(global, out)?;
    let store = session::store(global).await?;
    let summary = store
        .find_run(reference)
        .await
        .map_err(ControlError::from)?;
    match store.run(summary.id).await.map_err(ControlError::from)? {
        Some(run) => printer.print(run, &store).await?,
        None => {
            let reason = summary.reason.clone().unwrap_or_else(|| state(&summary));
            return Err(Failure::of(
                &format!("run {} has no verdict", summary.id),
                &reason,
            ));
        }
    }
    printer.close()?;
    Ok(ExitCode::SUCCESS)
}

/// Shows runs in the form that was asked for; a page holds all of them, so it comes at the end.
struct Printer<'a> {
    global: &'a Global,
    sink: Sink,
    page: Vec<Subject>,
}

impl<'a> Printer<'a> {
    fn open(global: &'a Global, out: Option<&Path>) -> Result<Self, Failure> {
        Ok(Self {
            global,
            sink: Sink::open(out)?,
            page: Vec::new(),
        })
    }

    async fn print(&mut self, run: Run, store: &Store) -> Result<(), Failure> {
        if self.global.html() {
            self.page.push(subject(run, store).await?);
            return Ok(());
        }
        if !self.global.json() {
            return self.sink.text(&report::run(&run));
        }
        let mut document = Document::new(RunDocument::from(&run));
        document.warnings.clone_from(&run.warnings);
        self.sink.document(self.global, &document)
    }

    fn close(mut self) -> Result<(), Failure> {
        if !self.page.is_empty() {
            let page = report::html::page(&self.page);
            self.sink.bytes(page.as_bytes())?;
        }
        self.sink.close()
    }
}

/// A run with what the store has of it.
async fn subject(run: Run, store: &Store) -> Result<Subject, Failure> {
    let filter = FindingFilter {
        run: Some(run.id),
        limit: Some(FINDINGS_OF_A_RUN),
        ..FindingFilter::default()
    };
    let findings = store.findings(filter).await.map_err(ControlError::from)?;
    Ok(Subject {
        excerpts: control::excerpt::read(store, &run).await?,
        repeat: control::repeat::command(&run),
        findings,
        run,
    })
}
