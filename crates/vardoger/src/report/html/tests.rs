//! What holds of every page, whatever the run: nothing fetched, nothing executed, never too large.

use super::*;
use control::excerpt::{Excerpt, Held, HexLine, LogExcerpt, LogLine, PageExcerpt, PageTally};
use control::excerpt::{MAX_EXCERPTS, MemoryExcerpt, RegisterPair};
use model::{
    ContentProvenance, Deviation, Difference, Elapsed, Engine, Explanation, Fate, FindingId,
    FindingKind, GuestPhysicalAddress, Hint, InjectionRecord, InstructionCount, Level, Locus,
    MetricSample, NodeRef, Outcome, OwnerKind, PageNumber, Part, Placement, ProgramProvenance,
    Provenance, ReplicaIndex, ReplicaRecord, RunId, Severity, Timestamp, Verdict,
};

/// The worst that a list can be filled with: every character is escaped, or hidden.
fn worst(characters: usize) -> String {
    "\"\u{202e}&\u{e0001}\"<"
        .chars()
        .cycle()
        .take(characters)
        .collect()
}

fn record(index: u32) -> ReplicaRecord {
    let metric = |number: usize| MetricSample {
        name: format!("{number}{}", worst(200)),
        value: 1.234_567 * number as f64,
        exact: number.is_multiple_of(2),
    };
    ReplicaRecord {
        index: ReplicaIndex(index),
        outcome: Outcome::Crashed(worst(2000)),
        placement: Placement {
            host: worst(300),
            cpus: vec![index; 64],
            ..Placement::default()
        },
        cpu: Elapsed::from_ns(u64::MAX),
        wall: Elapsed::from_ns(u64::MAX),
        instructions: Some(InstructionCount(u64::MAX)),
        steps: u64::MAX,
        changed_pages: u64::MAX,
        result_digest: Some(worst(64)),
        exit_status: Some(worst(200)),
        metrics: (0..200).map(metric).collect(),
        image: None,
        state: None,
    }
}

fn deviation(index: u32) -> Deviation {
    let text = worst(512);
    let one = |number: u64| Difference {
        part: Part::Log,
        locus: Locus::Name(format!("{number}{text}")),
        expected: Some(text.clone()),
        found: text.clone(),
        flipped_bits: (0..64).collect(),
        symbol: Some(text.clone()),
        explanation: Some(Box::new(Explanation::new(OwnerKind::Process, text.clone()))),
    };
    Deviation {
        replica: Some(ReplicaIndex(index)),
        score: f64::MAX,
        baseline: 0.0,
        severity: Severity::Critical,
        first: Some(one(0)),
        differences: (0..256).map(one).collect(),
        differences_total: u64::MAX,
        differing_words: u64::MAX,
        differing_pages: u64::MAX,
        words_digest: Some(worst(64)),
        differing_registers: u64::MAX,
        differing_lines: u64::MAX,
        hints: Vec::new(),
        next_experiment: None,
    }
}

fn excerpt(index: u32) -> Excerpt {
    let line = |number: u64| HexLine {
        address: GuestPhysicalAddress(u64::MAX - number),
        expected: [0, 1, 0, 1, 0, 1, 0, 1, 0, 1, 0, 1, 0, 1, 0, 1],
        found: [2, 1, 2, 1, 2, 1, 2, 1, 2, 1, 2, 1, 2, 1, 2, 1],
    };
    let page = |number: u64| PageExcerpt {
        number: PageNumber(2 * number),
        lines: (0..16).map(line).collect(),
        more: u64::MAX,
    };
    let tally = |number: u64| PageTally {
        number: PageNumber(32 * number),
        words: 1,
    };
    let register = |number: usize| RegisterPair {
        name: format!("{number}{}", worst(60)),
        expected: Some(worst(1024)),
        found: Some(worst(1023)),
    };
    let log_line = |number| LogLine {
        number,
        expected: Some(worst(1000)),
        found: Some(worst(999)),
    };
    Excerpt {
        expected: Held::Majority,
        found: ReplicaIndex(index),
        memory: MemoryExcerpt {
            pages: (0..60_000).map(tally).collect(),
            unread: u64::MAX,
            shown: (0..8).map(page).collect(),
        },
        registers: (0..512).map(register).collect(),
        log: LogExcerpt {
            lines: (0..200).map(log_line).collect(),
            total: u64::MAX,
            differing: u64::MAX,
        },
    }
}

fn injection(index: u32) -> InjectionRecord {
    InjectionRecord {
        replica: ReplicaIndex(index),
        part: worst(400),
        mode: worst(400),
        name: Some(worst(400)),
        times: u32::MAX,
        address: Some(GuestPhysicalAddress(u64::MAX)),
        register: Some(worst(400)),
        bit: Some(u32::MAX),
        before: Some(worst(400)),
        after: Some(worst(400)),
        when: worst(400),
        fate: Fate::Live,
        order: None,
    }
}

fn finding(number: u8) -> Finding {
    let hint = || Hint {
        cause: worst(2000),
        reason: worst(2000),
        probability: Some(1.0),
        likelihood_ratio: Some(f64::MAX),
        sources: vec![worst(2000); 64],
        ..Hint::default()
    };
    Finding {
        id: FindingId::from_parts(0, [number; 10]),
        at: Timestamp::from_unix_ns(0),
        engine: Engine::Divergence,
        engine_version: worst(300),
        kind: FindingKind::SilentWrongOutput,
        node: NodeRef {
            level: Level::System,
            id: worst(300),
        },
        severity: Severity::Critical,
        score: 100,
        probability: None,
        summary: worst(2000),
        evidence: Vec::new(),
        evidence_blobs: vec![worst(500); 128],
        hints: (0..64).map(|_| hint()).collect(),
        next_experiment: None,
        run: None,
    }
}

fn program() -> ProgramProvenance {
    let content = || ContentProvenance {
        name: worst(500),
        bytes: u64::MAX,
        digest: worst(500),
    };
    ProgramProvenance {
        executable: content(),
        arguments: vec![worst(500); 200],
        stdin: Some(content()),
        files: (0..200).map(|_| content()).collect(),
    }
}

/// A run in which every list is full, and full of the worst.
fn full() -> Subject {
    let coverage = model::Coverage {
        bytes_masked: 1,
        masked_reasons: vec![worst(2000); 200],
        not_compared_reasons: vec![worst(2000); 200],
        units: vec![worst(2000); 200],
        upper_bound: Some(1.0),
        ..model::Coverage::default()
    };
    let run = Run {
        id: RunId::from_parts(0, [0; 10]),
        started: Timestamp::from_unix_ns(0),
        ended: Timestamp::from_unix_ns(0),
        provenance: Provenance {
            hypervisor: worst(2000),
            kernel: worst(2000),
            memory_bytes: 16 << 30,
            computation: worst(2000),
            program: Some(program()),
            ..Provenance::default()
        },
        deterministic: true,
        verdict: Verdict::Deviates,
        reason: worst(5000),
        choice: Some(worst(2000)),
        replicas: (0..64).map(record).collect(),
        injections: (0..64).map(injection).collect(),
        deviations: (0..64).map(deviation).collect(),
        coverage,
        golden: Some(worst(64)),
        undecided_words: u64::MAX,
        noise: None,
        warnings: vec![worst(2000); 200],
        investigation: None,
        recording: None,
    };
    Subject {
        run,
        findings: (0..128).map(finding).collect(),
        excerpts: Excerpts {
            shown: (0..MAX_EXCERPTS as u32).map(excerpt).collect(),
            more: u64::MAX,
            unread: vec![worst(2000); 200],
        },
        repeat: Some(worst(100_000)),
    }
}

#[test]
fn a_page_of_full_lists_stays_small() {
    let subject = full();
    let page = page(std::slice::from_ref(&subject));
    assert!(page.len() <= MAX_BYTES, "{} bytes", page.len());
    // Every character of `worst` is spelt out or shown by number, none stands there bare.
    assert!(!page.contains(['\u{202e}', '\u{e0001}']));
    assert!(!page.contains("\"<"), "a quotation mark came through");
}

#[test]
fn what_is_left_out_is_said() {
    let subjects: Vec<Subject> = (0..3).map(|_| full()).collect();
    let page = page(&subjects);
    assert!(page.len() <= MAX_BYTES, "{} bytes", page.len());
    assert_eq!(page.matches("Not all of it fits").count(), subjects.len());
    assert_eq!(page.matches("<h1").count(), subjects.len());
}

#[test]
fn a_page_executes_and_fetches_nothing() {
    let page = page(&[full()]);
    let policy = "content=\"default-src 'none'; style-src 'unsafe-inline'; \
                  base-uri 'none'; form-action 'none'\"";
    assert!(page.contains(policy));
    for forbidden in [
        "<script", "<img", "<link", "<iframe", "<object", "<a ", "src=", "href=", " on", "url(",
        "@import", "http://", "https://",
    ] {
        let found = page.match_indices(forbidden);
        let found: Vec<&str> = found
            .filter(|(at, text)| *text != " on" || is_handler(&page[*at..]))
            .map(|(at, _)| page[at..].get(..40).unwrap_or("its end"))
            .collect();
        assert!(found.is_empty(), "{forbidden}: {found:?}");
    }
}

/// Whether ` on…` begins an attribute such as `onerror=`.
fn is_handler(text: &str) -> bool {
    let name = text[1..].split(|character: char| !character.is_ascii_alphabetic());
    let name = name.into_iter().next().unwrap_or_default();
    text[1 + name.len()..].starts_with('=')
}
