//! `computation ls`, `computation show`, `computation learn`; `computation coverage` in `coverage`.

mod coverage;

use crate::args::{ComputationVerb, Global, LearnArgs};
use crate::failure::Failure;
use crate::{output, report, session};
use computation::{Descriptor, catalogue, find, golden, steps_for};
use control::machine::MachineRequest;
use control::noise::{Learned, NoiseSummary};
use control::request::TCG_INSTRUCTIONS_PER_S;
use control::{ControlError, Keep, RunRequest};
use schema::{
    ComputationDocument, ComputationListDocument, Document, GoldenDocument, NoiseModelDocument,
};
use std::collections::BTreeMap;
use std::pin::pin;
use std::process::ExitCode;

/// Carries one verb out.
pub(crate) async fn execute(global: &Global, verb: &ComputationVerb) -> Result<ExitCode, Failure> {
    match verb {
        ComputationVerb::Ls => ls(global)?,
        ComputationVerb::Show { name } => show(global, name)?,
        ComputationVerb::Coverage => coverage::coverage(global)?,
        ComputationVerb::Learn(arguments) => learn(global, arguments).await?,
    }
    Ok(ExitCode::SUCCESS)
}

/// The failure of a name that the library does not have.
pub(crate) fn unknown(name: &str) -> Failure {
    let known: Vec<&str> = catalogue().iter().map(|entry| entry.name).collect();
    Failure::usage(
        format!(
            "no computation is called {name:?}; there is {}",
            known.join(", ")
        ),
        Some("`vardoger computation ls` lists them".to_owned()),
    )
}

fn ls(global: &Global) -> Result<(), Failure> {
    if global.json() {
        let computations = catalogue().iter().map(document).collect();
        return output::document(
            global,
            &Document::new(ComputationListDocument { computations }),
        );
    }
    let head = ["computation", "sensitivity", "targets", "what it does"];
    let mut rows = vec![head.map(str::to_owned).to_vec()];
    rows.extend(catalogue().iter().map(|entry| {
        vec![
            entry.name.to_owned(),
            entry.sensitivity.to_string(),
            targets(entry).join(", "),
            entry.title.to_owned(),
        ]
    }));
    output::text(&report::table(&rows))
}

fn show(global: &Global, name: &str) -> Result<(), Failure> {
    let entry = find(name).ok_or_else(|| unknown(name))?;
    if global.json() {
        return output::document(global, &Document::new(document(entry)));
    }
    let rows = [
        (
            "name",
            format!("{} (version {})", entry.name, entry.version),
        ),
        ("does", entry.title.to_owned()),
        ("sensitivity", entry.sensitivity.to_string()),
        ("targets", targets(entry).join(", ")),
        ("exercises", words(entry.units).join(", ")),
        ("algorithms", words(entry.algorithms).join(", ")),
        ("data types", words(entry.data_types).join(", ")),
        (
            "result",
            if entry.portable {
                "bit-equal on every instruction-set class".to_owned()
            } else {
                "depends on the instruction-set class".to_owned()
            },
        ),
        (
            "size",
            format!(
                "{} steps in {} s of CPU time",
                report::count(default_steps(entry)),
                entry.default_budget_s
            ),
        ),
    ];
    output::text(&report::rows(&rows))
}

/// Learns what there is to learn of such machines: digests, or noise.
async fn learn(global: &Global, arguments: &LearnArgs) -> Result<(), Failure> {
    let machine = MachineRequest::from(arguments.machine);
    machine.check()?;
    if machine.is_deterministic() {
        if arguments.runs.is_some() {
            return Err(Failure::usage(
                "bit-exact machines have no noise to learn".to_owned(),
                Some("--runs goes with --vcpus 2, --icount off or --accelerator kvm".to_owned()),
            ));
        }
        return learn_digests(global, arguments).await;
    }
    learn_noise(global, arguments, machine).await
}

/// Clean runs, one after the other, until their noise is known.
async fn learn_noise(
    global: &Global,
    arguments: &LearnArgs,
    machine: MachineRequest,
) -> Result<(), Failure> {
    let name = arguments.name.as_deref().ok_or_else(|| {
        Failure::usage(
            "noise is learned of one computation at a time".to_owned(),
            Some("name it, such as `vardoger computation learn threads --vcpus 2`".to_owned()),
        )
    })?;
    let entry = find(name).ok_or_else(|| unknown(name))?;
    let request = RunRequest {
        computation: entry.into(),
        choice: None,
        replicas: arguments.replicas,
        seed: arguments.seed,
        budget_s: arguments.budget.map(|budget| budget.as_secs_f64()),
        jobs: None,
        injections: Vec::new(),
        keep: Keep::Differing,
        timeout: None,
        multiplier: 1.0,
        machine,
        cpus: None,
        investigate: false,
    };
    let mut interruption = pin!(session::interruption());
    let opened = session::open(global, interruption.as_mut()).await?;
    let told = |summary: &NoiseSummary| {
        tracing::info!(
            runs = summary.runs,
            places = summary.places,
            seen_once = summary.seen_once,
            "a clean run was learned from"
        );
    };
    let learned = tokio::select! {
        learned = control::noise::learn(&opened, request, arguments.runs, &told) => learned?,
        () = interruption => return Err(ControlError::Interrupted.into()),
    };
    print_noise(global, &learned, machine)
}

fn print_noise(global: &Global, learned: &Learned, machine: MachineRequest) -> Result<(), Failure> {
    let summary = &learned.summary;
    let by_reason = summary.by_reason.iter();
    let by_reason: BTreeMap<String, u64> = by_reason
        .map(|(reason, places)| (reason.to_string(), *places))
        .collect();
    let document = NoiseModelDocument {
        computation: learned.computation.clone(),
        vcpus: machine.vcpus,
        accelerator: machine.accelerator.name().to_owned(),
        runs: summary.runs,
        runs_now: learned.runs,
        deviating: learned.deviating,
        places: summary.places,
        seen_once: summary.seen_once,
        expected_new: summary.expected_new,
        settled: summary.settled,
        by_reason,
        shown_once: learned.shown_once.clone(),
    };
    if global.json() {
        return output::document(global, &Document::new(document));
    }
    let reasons = document.by_reason.iter();
    let reasons: Vec<String> = reasons
        .map(|(reason, places)| format!("{reason} {places}"))
        .collect();
    let expected = summary.expected_new.map_or_else(String::new, |expected| {
        let enough = if summary.settled {
            "enough"
        } else {
            "not enough yet"
        };
        format!("{expected:.3} new places in the next run: {enough}")
    });
    output::text(&report::rows(&[
        ("computation", document.computation),
        (
            "runs",
            format!(
                "{} clean, {} of now, {} deviated",
                summary.runs, learned.runs, learned.deviating
            ),
        ),
        (
            "places",
            format!("{} ({})", report::count(summary.places), reasons.join(", ")),
        ),
        ("seen once", report::count(summary.seen_once)),
        ("expected", expected),
    ]))
}

/// Computing takes a while and holds no lock: it runs where it blocks nobody.
async fn learn_digests(global: &Global, arguments: &LearnArgs) -> Result<(), Failure> {
    let entries: Vec<&'static Descriptor> = match &arguments.name {
        Some(name) => vec![find(name).ok_or_else(|| unknown(name))?],
        None => catalogue().iter().collect(),
    };
    // Opening makes the store where it is absent.
    let store = session::store(global).await?;
    let mut learned = Vec::new();
    for entry in entries {
        let budget = arguments.budget.map(|budget| budget.as_secs_f64());
        let steps = steps_for(
            entry,
            budget.unwrap_or(entry.default_budget_s),
            TCG_INSTRUCTIONS_PER_S,
        );
        let (directory, seed) = (store.directory().to_path_buf(), arguments.seed);
        let computed = tokio::task::spawn_blocking(move || {
            control::golden::learn(&directory, entry, seed, steps)
        });
        let golden = computed
            .await
            .map_err(|error| Failure::of("cannot learn a golden digest", &error))??;
        learned.push(golden);
    }
    if global.json() {
        for golden in &learned {
            output::document(global, &Document::new(golden_document(golden)))?;
        }
        return Ok(());
    }
    let head = ["computation", "seed", "steps", "class", "digest"];
    let mut rows = vec![head.map(str::to_owned).to_vec()];
    rows.extend(learned.iter().map(|golden| {
        vec![
            format!("{} v{}", golden.key.computation, golden.key.version),
            format!("{:#x}", golden.key.seed),
            report::count(golden.key.steps),
            golden.key.class.to_string(),
            golden.digest.to_string(),
        ]
    }));
    output::text(&report::table(&rows))
}

fn default_steps(entry: &Descriptor) -> u64 {
    steps_for(entry, entry.default_budget_s, TCG_INSTRUCTIONS_PER_S)
}

fn targets(entry: &Descriptor) -> Vec<String> {
    entry.targets.iter().map(ToString::to_string).collect()
}

fn words<T: ToString>(words: &[T]) -> Vec<String> {
    words.iter().map(ToString::to_string).collect()
}

fn document(entry: &Descriptor) -> ComputationDocument {
    ComputationDocument {
        name: entry.name.to_owned(),
        version: entry.version,
        title: entry.title.to_owned(),
        sensitivity: entry.sensitivity.to_string(),
        targets: targets(entry),
        units: words(entry.units),
        data_types: words(entry.data_types),
        algorithms: words(entry.algorithms),
        extensions: words(entry.extensions),
        portable: entry.portable,
        default_budget_s: entry.default_budget_s,
        default_steps: default_steps(entry),
    }
}

fn golden_document(golden: &golden::Golden) -> GoldenDocument {
    GoldenDocument {
        computation: golden.key.computation.clone(),
        version: golden.key.version,
        seed: format!("{:#x}", golden.key.seed),
        steps: golden.key.steps,
        class: golden.key.class.to_string(),
        digest: golden.digest.to_string(),
    }
}
