//! `campaign start`, `ls`, `show`, `resume`, `stop`.

mod hints;

use crate::args::{CampaignStartArgs, CampaignVerb, Global};
use crate::failure::Failure;
use crate::progress::Trials;
use crate::{output, report, session};
use computation::{Descriptor, catalogue, find};
use control::campaign::{
    self, Campaign, CampaignDirectory, CampaignRequest, PageTally, TrialKind, TrialOutcome,
};
use control::{ControlError, Session};
use schema::{
    CampaignDocument, CampaignListDocument, Document, FaultOutcomesDocument, PageTallyDocument,
    TrialDocument,
};
use std::collections::BTreeMap;
use std::pin::pin;
use std::process::ExitCode;
use store::Reference;
use uuid::Uuid;

/// The exit code of a campaign in which the detector failed.
const DETECTOR_FAILED: u8 = 3;

/// Trials with a failure that are shown.
const SHOWN_FAILURES: usize = 20;

/// Carries one verb out.
pub(crate) async fn execute(global: &Global, verb: &CampaignVerb) -> Result<ExitCode, Failure> {
    match verb {
        CampaignVerb::Start(arguments) => start(global, arguments).await,
        CampaignVerb::Resume { campaign, jobs } => resume(global, campaign, *jobs).await,
        CampaignVerb::Ls => ls(global),
        CampaignVerb::Show {
            campaign,
            rank_anew,
        } => show(global, campaign, *rank_anew),
        CampaignVerb::Stop { campaign } => stop(global, campaign),
    }
}

async fn start(global: &Global, arguments: &CampaignStartArgs) -> Result<ExitCode, Failure> {
    let request = CampaignRequest {
        computations: chosen(&arguments.computations)?,
        kind: match (arguments.clean, arguments.hints) {
            (true, _) => TrialKind::Clean,
            (false, true) => TrialKind::Hints,
            (false, false) => TrialKind::Fault,
        },
        trials: arguments.trials,
        replicas: arguments.replicas,
        seed: arguments.seed,
        budget_s: arguments.budget.as_secs_f64(),
        machine: arguments.machine.into(),
        place: arguments.place.map(Into::into),
        check_pages: arguments.check_pages,
    };
    let mut interruption = pin!(session::interruption());
    let opened = session::open(global, interruption.as_mut()).await?;
    let jobs = jobs(&opened, arguments.jobs);
    let trials = Trials::new(global.quiet);
    let campaign = tokio::select! {
        ended = campaign::start(&opened, &request, jobs, &trials) => ended,
        () = interruption => Err(ControlError::Interrupted),
    };
    end(global, &trials, campaign)
}

async fn resume(
    global: &Global,
    reference: &str,
    jobs_wanted: Option<u32>,
) -> Result<ExitCode, Failure> {
    let id = resolve(&directory(global)?, reference)?;
    let mut interruption = pin!(session::interruption());
    let opened = session::open(global, interruption.as_mut()).await?;
    let jobs = jobs(&opened, jobs_wanted);
    let trials = Trials::new(global.quiet);
    let campaign = tokio::select! {
        ended = campaign::resume(&opened, id, jobs, &trials) => ended,
        () = interruption => Err(ControlError::Interrupted),
    };
    end(global, &trials, campaign)
}

/// One CPU is left to the host, unless told otherwise.
fn jobs(session: &Session, wanted: Option<u32>) -> u32 {
    let cpus = u32::try_from(session.host.cpus.len()).unwrap_or(u32::MAX);
    wanted.unwrap_or_else(|| cpus.saturating_sub(1).max(1))
}

fn end(
    global: &Global,
    trials: &Trials,
    campaign: Result<Campaign, ControlError>,
) -> Result<ExitCode, Failure> {
    trials.finish();
    let campaign = campaign?;
    print(global, &campaign)?;
    let pages_sound = campaign.pages().is_none_or(|pages| pages.is_sound());
    Ok(if campaign.tally().failures() > 0 || !pages_sound {
        ExitCode::from(DETECTOR_FAILED)
    } else {
        ExitCode::SUCCESS
    })
}

/// The computations that were named; all of the library where none was.
fn chosen(names: &[String]) -> Result<Vec<&'static Descriptor>, Failure> {
    if names.is_empty() {
        return Ok(catalogue().iter().collect());
    }
    let found = names
        .iter()
        .map(|name| find(name).ok_or_else(|| super::computation::unknown(name)));
    found.collect()
}

fn directory(global: &Global) -> Result<CampaignDirectory, Failure> {
    Ok(CampaignDirectory::of_store(&session::config(global)?.store))
}

fn resolve(directory: &CampaignDirectory, reference: &str) -> Result<Uuid, Failure> {
    let usage = |error: store::ReferenceError| Failure::usage(error.to_string(), None);
    let reference: Reference = reference.parse().map_err(usage)?;
    reference
        .among("campaign", &directory.ids()?)
        .map_err(usage)
}

fn ls(global: &Global) -> Result<ExitCode, Failure> {
    let directory = directory(global)?;
    let campaigns = directory
        .ids()?
        .into_iter()
        .map(|id| directory.load(id))
        .collect::<Result<Vec<_>, _>>()?;
    if global.json() {
        let campaigns = campaigns.iter().map(|one| document(global, one));
        let campaigns = campaigns.collect::<Result<_, _>>()?;
        output::document(global, &Document::new(CampaignListDocument { campaigns }))?;
    } else if campaigns.is_empty() {
        output::text("no campaigns yet: `vardoger campaign start` makes one\n")?;
    } else {
        let head = ["campaign", "started", "trials", "of", "state", "failures"];
        let mut rows = vec![head.map(str::to_owned).to_vec()];
        rows.extend(campaigns.iter().map(|one| {
            vec![
                one.header.id.to_string(),
                one.header.started.to_string().chars().take(19).collect(),
                format!("{} of {}", one.trials.len(), one.header.plan.trials),
                kind(one).to_owned(),
                state(one).to_owned(),
                one.tally().failures().to_string(),
            ]
        }));
        output::text(&report::table(&rows))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn show(global: &Global, reference: &str, rank_anew: bool) -> Result<ExitCode, Failure> {
    let directory = directory(global)?;
    let id = resolve(&directory, reference)?;
    let mut campaign = directory.load(id)?;
    if rank_anew {
        for trial in &mut campaign.trials {
            *trial = trial.ranked_anew();
        }
    }
    print(global, &campaign)?;
    Ok(ExitCode::SUCCESS)
}

/// Asks the process at work to stop after the trials at hand; it says so itself.
fn stop(global: &Global, reference: &str) -> Result<ExitCode, Failure> {
    let directory = directory(global)?;
    let id = resolve(&directory, reference)?;
    if directory.load(id)?.running {
        directory.ask_to_stop(id)?;
        output::message(global, &format!("campaign {id} was asked to stop"));
    } else {
        output::message(global, &format!("campaign {id} is not at work"));
    }
    Ok(ExitCode::SUCCESS)
}

fn print(global: &Global, campaign: &Campaign) -> Result<(), Failure> {
    if global.json() {
        return output::document(global, &Document::new(document(global, campaign)?));
    }
    output::text(&text(global, campaign)?)
}

fn kind(campaign: &Campaign) -> &'static str {
    match campaign.header.plan.kind {
        TrialKind::Fault => "fault",
        TrialKind::Clean => "clean",
        TrialKind::Hints => "hints",
    }
}

fn state(campaign: &Campaign) -> &'static str {
    match (campaign.running, campaign.is_complete()) {
        (true, _) => "running",
        (false, true) => "complete",
        (false, false) => "stopped",
    }
}

/// The file of the truth, once it was told.
fn truth(global: &Global, campaign: &Campaign) -> Result<Option<String>, Failure> {
    let path = directory(global)?.truth_file(campaign.header.id);
    Ok(path.exists().then(|| path.display().to_string()))
}

fn text(global: &Global, campaign: &Campaign) -> Result<String, Failure> {
    let header = &campaign.header;
    let tally = campaign.tally();
    let computations: Vec<_> = campaign::computations(&header.plan).into_iter().collect();
    let mut rows = vec![
        ("campaign", format!("{}, {}", header.id, state(campaign))),
        (
            "trials",
            format!(
                "{} of {} {}, {} replicas each, seed {:#x}",
                campaign.trials.len(),
                header.plan.trials,
                kind(campaign),
                header.plan.replicas,
                header.plan.seed
            ),
        ),
        ("computations", computations.join(", ")),
        ("seal", header.seal.clone()),
    ];
    if let Some(path) = truth(global, campaign)? {
        rows.push(("truth", path));
    }
    let result = match (tally.failures(), tally.upper_bound()) {
        (0, Some(bound)) => format!(
            "no failure: the detector fails in at most {:.2} % (95 % confidence)",
            bound * 100.0
        ),
        (0, None) => "no failure".to_owned(),
        (failures, _) => format!("the detector failed in {failures}"),
    };
    rows.push(("detector", result));
    rows.extend(campaign.pages().map(|pages| ("pages", pages_text(&pages))));
    rows.extend(rates(campaign).map(|(name, text)| ("rate", format!("{name}: {text}"))));
    let mut text = report::rows(&rows);
    text.push_str(&report::table(&outcome_table(campaign)));
    if let Some(report) = campaign.hints() {
        text.push_str(&hints::text(&report));
    }
    for trial in failed(campaign) {
        text.push_str(&format!(
            "  trial {}: {} on {}: {}: {}\n",
            trial.number, trial.fault, trial.computation, trial.outcome, trial.detail
        ));
    }
    Ok(text)
}

/// What became of the lists of changed pages.
fn pages_text(pages: &PageTally) -> String {
    format!(
        "{} replicas, each listed in {} ways: {} pages listed, {} not by all; {} differ, {} missed",
        pages.replicas, pages.ways, pages.listed, pages.disputed, pages.differing, pages.missed
    )
}

/// Of machines that are not bit-exact how often each kind of trial came out as it should, with the
/// bounds of Clopper and Pearson.
fn rates(campaign: &Campaign) -> impl Iterator<Item = (String, String)> {
    let by_fault = match campaign.header.plan.machine.icount {
        true => BTreeMap::new(),
        false => campaign.tally().by_fault,
    };
    by_fault.into_iter().map(|(fault, outcomes)| {
        let of = |outcome| outcomes.get(&outcome).copied().unwrap_or(0);
        let trials: u64 = outcomes.values().sum();
        let good = of(TrialOutcome::Detected) + of(TrialOutcome::Clean);
        let bounds =
            stats::rate_interval(good, trials, 0.95).map_or_else(String::new, |(low, high)| {
                format!(
                    " ({:.1} to {:.1} %, 95 % confidence)",
                    low * 100.0,
                    high * 100.0
                )
            });
        (fault, format!("{good} of {trials}{bounds}"))
    })
}

/// One row for each kind of fault, one column for each outcome that came.
fn outcome_table(campaign: &Campaign) -> Vec<Vec<String>> {
    let tally = campaign.tally();
    let came = TrialOutcome::ALL.into_iter();
    let came: Vec<_> = came.filter(|one| tally.all.contains_key(one)).collect();
    let row = |name: &str, outcomes: &BTreeMap<TrialOutcome, u64>| {
        let counts = came
            .iter()
            .map(|one| outcomes.get(one).copied().unwrap_or(0));
        let mut cells = vec![name.to_owned()];
        cells.extend(counts.map(report::count));
        cells
    };
    let mut head = vec!["fault".to_owned()];
    head.extend(came.iter().map(|one| one.name().to_owned()));
    let mut rows = vec![head];
    rows.extend(
        tally
            .by_fault
            .iter()
            .map(|(name, outcomes)| row(name, outcomes)),
    );
    if tally.by_fault.len() > 1 {
        rows.push(row("all", &tally.all));
    }
    rows
}

fn failed(campaign: &Campaign) -> Vec<TrialDocument> {
    let trials = campaign.trials.iter();
    trials
        .filter(|trial| !trial.outcome.is_as_expected())
        .take(SHOWN_FAILURES)
        .map(|trial| TrialDocument {
            number: trial.number,
            computation: trial.computation.clone(),
            fault: trial.fault.clone(),
            outcome: trial.outcome.name().to_owned(),
            detail: trial.detail.clone(),
        })
        .collect()
}

fn document(global: &Global, campaign: &Campaign) -> Result<CampaignDocument, Failure> {
    let header = &campaign.header;
    let tally = campaign.tally();
    let named = |outcomes: &BTreeMap<TrialOutcome, u64>| {
        let outcomes = outcomes.iter();
        outcomes
            .map(|(one, &count)| (one.name().to_owned(), count))
            .collect()
    };
    let computations = campaign::computations(&header.plan).into_iter();
    Ok(CampaignDocument {
        id: header.id.to_string(),
        started: header.started.to_string(),
        state: state(campaign).to_owned(),
        kind: kind(campaign).to_owned(),
        seed: schema::hexadecimal(header.plan.seed),
        replicas: header.plan.replicas,
        computations: computations.map(str::to_owned).collect(),
        trials: u64::from(header.plan.trials),
        trials_ended: campaign.trials.len() as u64,
        outcomes: named(&tally.all),
        by_fault: tally
            .by_fault
            .iter()
            .map(|(fault, outcomes)| FaultOutcomesDocument {
                fault: fault.clone(),
                outcomes: named(outcomes),
            })
            .collect(),
        failures: tally.failures(),
        upper_bound: tally.upper_bound(),
        failed: failed(campaign),
        hints: campaign.hints().as_ref().map(hints::document),
        pages: campaign.pages().map(|pages| PageTallyDocument {
            replicas: pages.replicas,
            ways: pages.ways,
            listed: pages.listed,
            disputed: pages.disputed,
            differing: pages.differing,
            missed: pages.missed,
        }),
        seal: header.seal.clone(),
        truth: truth(global, campaign)?,
    })
}
