//! The report of a run for people: the verdict first, then who, where, what, how bad, and what
//! the silence of a pass is worth. Pure: a run in, text out; styles are stripped later where the
//! terminal has none.

mod diff;
mod hint;
pub(crate) mod html;
mod number;
mod section;

use anstyle::{AnsiColor, Style};
pub(crate) use diff::diff;
pub(crate) use hint::{hint_rows, investigated, next_experiment, whole_hint};
use model::{
    ContentProvenance, Deviation, Difference, Fate, GuestPhysicalAddress, InjectionRecord, Locus,
    NoiseRecord, Part, ProgramProvenance, Provenance, RecordingRecord, ReplicaRecord, Run, Verdict,
};
pub(crate) use number::{bytes, count};
use section::{Section, differences};
pub(crate) use section::{difference_table, rows, table};

/// Digits of a digest that the terminal shows.
const SHOWN_DIGITS: usize = 12;

/// The report of one run.
pub(crate) fn run(run: &Run) -> String {
    let mut text = String::new();
    headline(&mut text, run);
    for deviation in &run.deviations {
        text.push_str(&who(run, deviation));
    }
    if let Some(investigation) = &run.investigation {
        text.push_str(&rows(&investigated(investigation)));
        text.push('\n');
    }
    text.push_str(&replicas(run));
    if !run.injections.is_empty() {
        text.push_str(&injections(run));
    }
    text.push_str(&coverage(run));
    for warning in &run.warnings {
        let style = bold(AnsiColor::Yellow);
        line(&mut text, &format!("{style}warning{style:#} {warning}"));
    }
    text
}

/// A bold style in a colour.
pub(crate) fn bold(color: AnsiColor) -> Style {
    Style::new().bold().fg_color(Some(color.into()))
}

/// The style of a verdict.
pub(crate) fn verdict_style(verdict: Verdict) -> Style {
    bold(match verdict {
        Verdict::Pass => AnsiColor::Green,
        Verdict::Deviates => AnsiColor::Red,
        Verdict::Inconclusive | Verdict::Skipped => AnsiColor::Yellow,
    })
}

fn line(text: &mut String, content: &str) {
    text.push_str(content);
    text.push('\n');
}

/// A verdict with its sign, in its colour.
fn verdict_mark(verdict: Verdict) -> String {
    let style = verdict_style(verdict);
    let mark = match verdict {
        Verdict::Pass => "✓",
        Verdict::Deviates => "✗",
        Verdict::Inconclusive | Verdict::Skipped => "?",
    };
    let verdict = verdict.to_string().to_uppercase();
    format!("{style}{mark} {verdict}{style:#}")
}

fn headline(text: &mut String, run: &Run) {
    line(text, "");
    line(
        text,
        &format!("{}  {}", verdict_mark(run.verdict), run.reason),
    );
    let made = &run.provenance;
    let faint = Style::new().dimmed();
    line(
        text,
        &format!(
            "{faint}  {} v{} · {} replicas · seed {:#x} · {}{}, {}, cpu {}{} · run {}{faint:#}",
            made.computation,
            made.computation_version,
            run.replicas.len(),
            made.seed,
            steps(made),
            made.hypervisor,
            made.accelerator,
            made.cpu_model,
            machine(run),
            run.id,
        ),
    );
    if let Some(program) = &made.program {
        line(text, &format!("{faint}  {}{faint:#}", given(program)));
    }
    if let Some(choice) = &run.choice {
        line(text, &format!("{faint}  chosen: {choice}{faint:#}"));
    }
    line(text, "");
}

/// What is not as usual in the machine.
fn machine(run: &Run) -> String {
    let mut text = match run.provenance.vcpus {
        0 | 1 => String::new(),
        vcpus => format!(" × {vcpus}"),
    };
    if !run.deterministic {
        text.push_str(", not bit-exact");
    }
    text
}

/// How long a computation of the library is; a program is as long as it is.
fn steps(made: &Provenance) -> String {
    match made.program {
        Some(_) => String::new(),
        None => format!("{} steps · ", count(made.steps)),
    }
}

/// What a user's program was given.
fn given(program: &ProgramProvenance) -> String {
    let content = |content: &ContentProvenance| {
        let digest: String = content.digest.chars().take(SHOWN_DIGITS).collect();
        format!("{} {} {digest}", content.name, bytes(content.bytes))
    };
    let mut parts = vec![content(&program.executable)];
    if !program.arguments.is_empty() {
        let arguments = program.arguments.iter();
        let arguments: Vec<String> = arguments.map(|word| format!("{word:?}")).collect();
        parts.push(format!("arguments {}", arguments.join(" ")));
    }
    parts.extend(
        program
            .stdin
            .iter()
            .map(|stdin| format!("stdin {}", content(stdin))),
    );
    parts.extend(
        program
            .files
            .iter()
            .map(|file| format!("file {}", content(file))),
    );
    parts.join(" · ")
}

/// Who deviates, how bad it is, where, and what.
fn who(run: &Run, deviation: &Deviation) -> String {
    let red = bold(AnsiColor::Red);
    let name = match deviation.replica {
        Some(replica) => {
            let place = run
                .replicas
                .iter()
                .find(|record| record.index == replica)
                .map(place)
                .unwrap_or_default();
            format!("{red}replica {replica}{red:#}{place}")
        }
        None => "one of the two replicas; two cannot say which".to_owned(),
    };
    let mut section = Section::new();
    section.row("who", &name);
    how_bad_and_where(&mut section, deviation);
    for (label, content) in hint_rows(&deviation.hints) {
        section.row(label, &content);
    }
    if let Some(next) = &deviation.next_experiment {
        section.row("next", &next_experiment(next));
    }
    let mut text = section.text();
    text.push_str(&differences(deviation));
    text
}

/// How bad a deviation is, where, and its first difference.
fn how_bad_and_where(section: &mut Section, deviation: &Deviation) {
    let severity = severity_style(deviation.severity);
    section.row(
        "how bad",
        &format!(
            "{severity}{}{severity:#}, score {}",
            deviation.severity,
            number::score(deviation.score)
        ),
    );
    section.row("where", &extent(deviation));
    if let Some(first) = &deviation.first {
        section.row("first", &section::place(first));
        if let Some(owner) = section::owner(first) {
            section.row("belongs to", &owner);
        }
        section.row("", &section::values(first));
    }
}

fn severity_style(severity: model::Severity) -> Style {
    bold(match severity {
        model::Severity::Critical | model::Severity::High => AnsiColor::Red,
        model::Severity::Medium => AnsiColor::Yellow,
        model::Severity::Low | model::Severity::Info => AnsiColor::Cyan,
    })
}

fn place(record: &ReplicaRecord) -> String {
    let cpu = record.placement.cpus.first();
    cpu.map(|cpu| format!(" on cpu {cpu} of {}", record.placement.host))
        .unwrap_or_default()
}

/// How much deviates, in words.
pub(crate) fn extent(deviation: &Deviation) -> String {
    let mut parts = Vec::new();
    let mut part = |figure: u64, one: &str, many: &str| {
        if figure > 0 {
            let word = if figure == 1 { one } else { many };
            parts.push(format!("{} {word}", count(figure)));
        }
    };
    part(
        deviation.differing_words,
        "word of memory",
        "words of memory",
    );
    part(deviation.differing_pages, "page", "pages");
    part(deviation.differing_registers, "register", "registers");
    part(deviation.differing_lines, "log line", "log lines");
    let listed = |part| {
        let differences = deviation.differences.iter();
        differences.filter(|one| one.part == part).count() as u64
    };
    part(listed(Part::File), "file", "files");
    part(listed(Part::Disk), "word of the disk", "words of the disk");
    part(listed(Part::Metric), "metric", "metrics");
    if parts.is_empty() {
        "how it ended".to_owned()
    } else {
        parts.join(", ")
    }
}

fn replicas(run: &Run) -> String {
    let mut rows = vec![
        [
            "replica",
            "ended",
            "cpu",
            "vCPU time",
            "instructions",
            "changed",
            "result",
        ]
        .map(str::to_owned)
        .to_vec(),
    ];
    for record in &run.replicas {
        rows.push(vec![
            record.index.to_string(),
            outcome(record),
            record
                .placement
                .cpus
                .first()
                .map_or_else(String::new, u32::to_string),
            format!("{:.2} s", record.cpu.seconds()),
            record
                .instructions
                .map_or_else(|| "–".to_owned(), |instructions| count(instructions.0)),
            format!("{} pages", count(record.changed_pages)),
            record.result_digest.as_ref().map_or_else(
                || "–".to_owned(),
                |digest| digest.chars().take(12).collect(),
            ),
        ]);
    }
    table(&rows)
}

/// How a replica ended, and its program.
pub(crate) fn outcome(record: &ReplicaRecord) -> String {
    match &record.exit_status {
        Some(status) if status.starts_with("signal") => format!("{}, {status}", record.outcome),
        Some(status) => format!("{}, exit status {status}", record.outcome),
        None => record.outcome.to_string(),
    }
}

fn injections(run: &Run) -> String {
    let mut section = Section::new();
    for injection in &run.injections {
        section.row("injected", &injected(injection));
        if let Some(difference) = seen(run, injection) {
            section.row("", &format!("found there: {}", section::values(difference)));
            if let Some(owner) = section::owner(difference) {
                section.row("", &format!("belongs to: {owner}"));
            }
        }
    }
    section.text()
}

/// What the comparison found in the word that a fault was put into. Two replicas that differ share
/// one deviation, which names neither.
fn seen<'a>(run: &'a Run, injection: &InjectionRecord) -> Option<&'a Difference> {
    let word = GuestPhysicalAddress(injection.address?.0 & !7);
    let (part, locus) = match injection.part.as_str() {
        "disk" => (Part::Disk, Locus::Name(format!("{:#x}", word.0))),
        _ => (Part::Memory, Locus::Address(word)),
    };
    run.deviations
        .iter()
        .filter(|deviation| deviation.replica.is_none_or(|one| one == injection.replica))
        .flat_map(|deviation| &deviation.differences)
        .find(|difference| difference.part == part && difference.locus == locus)
}

/// A fault and its fate, in words.
pub(crate) fn injected(injection: &InjectionRecord) -> String {
    let mut text = injection.part.clone();
    if let Some(register) = &injection.register {
        text = format!("register {register}");
    }
    if let Some(address) = injection.address {
        text.push_str(&format!(" {address}"));
    }
    if let Some(name) = &injection.name {
        text.push_str(&format!(" {name}"));
    }
    if let Some(bit) = injection.bit {
        text.push_str(&format!(" bit {bit}"));
    }
    if injection.mode != "flip" {
        text.push_str(&format!(" {}", injection.mode));
    }
    if let (Some(before), Some(after)) = (&injection.before, &injection.after) {
        text.push_str(&format!(" ({before} → {after})"));
    }
    let fate = match injection.fate {
        Fate::Live => "live: it shows in the terminal state",
        Fate::Masked => "masked: the terminal states are equal",
    };
    format!(
        "{text} at {} in replica {}, {fate}",
        injection.when, injection.replica
    )
}

/// Who was recorded, what that took, and who followed.
fn recorded_row(recording: &RecordingRecord, run: &Run) -> String {
    let others = run.replicas.iter().map(|record| record.index);
    let followers: Vec<String> = others
        .filter(|index| *index != recording.replica)
        .map(|index| index.to_string())
        .collect();
    let followed = match followers.as_slice() {
        [] => "nobody followed".to_owned(),
        [one] => format!("followed by replica {one}"),
        all => format!("followed by replicas {}", all.join(", ")),
    };
    format!(
        "replica {}: {} events, {}, over {} instructions; {followed}",
        recording.replica,
        count(recording.events),
        bytes(recording.bytes),
        count(recording.instructions.0)
    )
}

/// Words that no clean run has shown as noise that are listed.
const SHOWN_UNEXPLAINED: usize = 8;

/// What was known of noise, and what came.
fn noise_row(noise: &NoiseRecord) -> String {
    let learned = match noise.expected_new {
        None => "nothing was learned of it yet; `vardoger computation learn` does".to_owned(),
        Some(expected) => format!(
            "{} places learned from {} clean runs, {expected:.3} new ones to be expected",
            count(noise.places),
            count(noise.runs)
        ),
    };
    format!(
        "{} words differ by it, {} besides; {learned}",
        count(noise.noisy_words),
        count(noise.unexplained_words)
    )
}

fn coverage(run: &Run) -> String {
    let coverage = &run.coverage;
    let mut section = Section::new();
    if let Some(recording) = &run.recording {
        section.row("recorded", &recorded_row(recording, run));
    }
    section.row(
        "compared",
        &format!(
            "{} in {} replicas",
            bytes(coverage.bytes_compared),
            run.replicas.len()
        ),
    );
    if coverage.bytes_masked > 0 {
        let why = coverage.masked_reasons.join("; ");
        section.row(
            "masked",
            &format!("{} ({why})", bytes(coverage.bytes_masked)),
        );
    }
    if let Some(noise) = &run.noise {
        section.row("noise", &noise_row(noise));
        let shown = noise.unexplained.iter().take(SHOWN_UNEXPLAINED);
        for difference in shown {
            section.row("", &format!("{}: {}", difference.locus, difference.found));
        }
    }
    if !coverage.not_compared_reasons.is_empty() {
        let why = coverage.not_compared_reasons.join("; ");
        let size = bytes(coverage.bytes_not_compared);
        section.row("not compared", &format!("{size} ({why})"));
    }
    if run.provenance.program.is_some() {
        section.row(
            "exercised",
            "what the program does; nobody has said what that is",
        );
    } else if run.provenance.command.is_some() {
        section.row(
            "exercised",
            "what the command does; nobody has said what that is",
        );
    } else {
        section.row("exercised", &coverage.units.join(", "));
    }
    if !coverage.host_units_exercised {
        section.row(
            "",
            "in the guest only: no vector, FMA or AES unit of this host executed its instructions",
        );
    }
    if let Some(bound) = coverage.upper_bound {
        section.row(
            "bound",
            &format!(
                "at most {:.1} % of replicas deviate (95 % confidence)",
                bound * 100.0
            ),
        );
    }
    section.text()
}
