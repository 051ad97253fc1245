//! `vardoger`: doubles for virtual machines.
//!
//! ```text
//!  args (as typed) ──► command::* ──► control ──► report | document ──► stdout
//!                                        │
//!                                        └─ progress, messages ──► stderr
//! ```
//!
//! Exit codes: 0 done, nothing found · 1 failure · 2 usage · 3 a finding · 6 inconclusive or
//! skipped · 130 interrupted and cleaned up. A closed pipe is 0.

mod args;
mod command;
mod config;
mod failure;
mod notify;
mod output;
mod progress;
mod report;
mod session;

use args::{Cli, Global, Noun, RunVerb};
use clap::Parser;
use failure::Failure;
use std::io::IsTerminal;
use std::process::ExitCode;
use std::time::Duration;
use tracing_subscriber::EnvFilter;

/// How long blocking work may last after an interruption.
const SHUTDOWN: Duration = Duration::from_secs(2);

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return output::refused(&error),
    };
    if let Noun::Worker {
        work: Some(work),
        subject,
        ..
    } = &cli.noun
    {
        return command::worker::execute(*work, subject.as_deref());
    }
    cli.global.color.apply();
    log_to_stderr(&cli.global);
    let runtime = match tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => {
            return output::failure(&cli.global, &Failure::of("cannot start", &error));
        }
    };
    let code = match runtime.block_on(dispatch(&cli)) {
        Ok(code) => code,
        Err(failure) => output::failure(&cli.global, &failure),
    };
    runtime.shutdown_timeout(SHUTDOWN);
    code
}

async fn dispatch(cli: &Cli) -> Result<ExitCode, Failure> {
    let global = &cli.global;
    if global.html() && !has_page(&cli.noun) {
        let hint = "`run start` and `run show` have one".to_owned();
        return Err(Failure::usage(
            "-o html: this command's result has no page".to_owned(),
            Some(hint),
        ));
    }
    match &cli.noun {
        Noun::Computation(verb) => command::computation::execute(global, verb).await,
        Noun::Run(verb) => command::run::execute(global, verb).await,
        Noun::Campaign(verb) => command::campaign::execute(global, verb).await,
        Noun::Finding(verb) => command::finding::execute(global, verb).await,
        Noun::Image(verb) => command::image::execute(global, verb).await,
        Noun::Doctor(arguments) => command::doctor::execute(global, arguments).await,
        Noun::Worker { .. } => command::worker::self_test(),
        Noun::Completions { shell } => command::plain::completions(*shell),
        Noun::Version => command::plain::version(global),
    }
}

/// Whether a command's result can be a page for a browser.
const fn has_page(noun: &Noun) -> bool {
    matches!(noun, Noun::Run(RunVerb::Start(_) | RunVerb::Show { .. }))
}

/// Warnings always, unless quiet; `-v` says what is done, `-vv` everything of ours.
fn log_to_stderr(global: &Global) {
    let level = match (global.quiet, global.verbose) {
        (true, _) => "error",
        (false, 0) => "warn",
        (false, 1) => "warn,vardoger=info,control=info,hypervisor=info,store=info",
        (false, _) => "warn,vardoger=trace,control=trace,hypervisor=trace,store=trace",
    };
    let filter = EnvFilter::try_from_env("VARDOGER_LOG").unwrap_or_else(|_| EnvFilter::new(level));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .with_target(false)
        .without_time()
        .init();
}
