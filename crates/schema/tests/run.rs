//! A run as a document: every key that readers were promised, in the promised form.
#![expect(clippy::unwrap_used, reason = "a helper of a test may panic")]

use model::{
    Basis, BufferPlace, Confidence, Coverage, Deviation, Difference, Elapsed, Explanation, Fate,
    FilePlace, GuestPhysicalAddress, GuestVirtualAddress, InjectionRecord, InstructionCount, Locus,
    MappingName, MetricSample, ObjectName, Outcome, OwnerKind, Part, Placement, ProcessName,
    Provenance, RecordingRecord, ReplicaIndex, ReplicaRecord, Run, RunId, Severity, Timestamp,
    Verdict,
};
use schema::{Document, RunDocument};
use serde_json::{Value, json};

fn explanation() -> Explanation {
    Explanation {
        kind: OwnerKind::Process,
        owner: "[heap] of init (pid 1)".to_owned(),
        symbol: None,
        process: Some(ProcessName {
            pid: 1,
            name: "init".to_owned(),
        }),
        mapping: Some(MappingName {
            start: GuestVirtualAddress(0x7000),
            end: GuestVirtualAddress(0x9000),
            permissions: "rw-p".to_owned(),
            name: "[heap]".to_owned(),
        }),
        virtual_address: Some(GuestVirtualAddress(0x8ff8)),
        type_name: Some("task_struct".to_owned()),
        field: Some("comm[3]".to_owned()),
        object: Some(ObjectName {
            cache: "task_struct".to_owned(),
            index: 2,
            address: GuestVirtualAddress(0xffff_8880_0000_8000),
            offset: 0x98,
            in_use: Some(true),
        }),
        file: Some(FilePlace {
            path: "/init".to_owned(),
            offset: 0x1008,
        }),
        buffer: Some(BufferPlace {
            name: "matrix".to_owned(),
            offset: 24,
        }),
        basis: Some(Basis::TypedObject),
        confidence: Some(Confidence::per_mille(998)),
    }
}

fn difference() -> Difference {
    Difference {
        part: Part::Memory,
        locus: Locus::Address(GuestPhysicalAddress(0xffff_ffff_ffff_fff8)),
        expected: Some("00".repeat(8)),
        found: "0100000000000000".to_owned(),
        flipped_bits: vec![0],
        symbol: Some("init_task+0x8".to_owned()),
        explanation: Some(Box::new(explanation())),
    }
}

fn replica() -> ReplicaRecord {
    ReplicaRecord {
        index: ReplicaIndex(2),
        outcome: Outcome::Crashed("triple fault".to_owned()),
        placement: Placement {
            host: "host".to_owned(),
            cpus: vec![1],
            ..Placement::default()
        },
        cpu: Elapsed::from_ns(1_500_000_000),
        wall: Elapsed::from_ns(2_000_000_000),
        instructions: Some(InstructionCount(1_000_000)),
        steps: 42,
        changed_pages: 7,
        result_digest: None,
        exit_status: Some("signal 11 (SIGSEGV)".to_owned()),
        metrics: vec![MetricSample {
            name: "page_faults".to_owned(),
            value: 3.0,
            exact: true,
        }],
        image: None,
        state: Some("runs/x/replica-2.state".to_owned()),
    }
}

fn deviation() -> Deviation {
    Deviation {
        replica: Some(ReplicaIndex(2)),
        score: 1.0,
        baseline: 0.0,
        severity: Severity::High,
        first: Some(difference()),
        differences: vec![
            difference(),
            Difference {
                part: Part::Register,
                locus: Locus::Name("rax".to_owned()),
                ..difference()
            },
        ],
        differences_total: 2,
        differing_words: 1,
        differing_pages: 1,
        words_digest: Some("ab".repeat(32)),
        differing_registers: 1,
        differing_lines: 0,
        hints: Vec::new(),
        next_experiment: None,
    }
}

fn injection() -> InjectionRecord {
    InjectionRecord {
        replica: ReplicaIndex(2),
        part: "ram".to_owned(),
        mode: "flip".to_owned(),
        address: Some(GuestPhysicalAddress(0x1000)),
        register: None,
        name: None,
        bit: Some(3),
        before: Some("00".to_owned()),
        after: Some("08".to_owned()),
        when: "half".to_owned(),
        times: 1,
        fate: Fate::Live,
        order: None,
    }
}

fn run() -> Run {
    Run {
        id: RunId::from_parts(1_700_000_000_000, [1; 10]),
        started: Timestamp::from_unix_ns(1_700_000_000_000_000_000),
        ended: Timestamp::from_unix_ns(1_700_000_060_000_000_000),
        provenance: Provenance {
            computation: "sha256".to_owned(),
            accelerator: "tcg".to_owned(),
            cpu_model: "max".to_owned(),
            vcpus: 2,
            icount: true,
            seed: u64::MAX,
            ..Provenance::default()
        },
        deterministic: true,
        verdict: Verdict::Deviates,
        reason: "replica 2 deviates".to_owned(),
        choice: None,
        replicas: vec![replica()],
        injections: vec![injection()],
        deviations: vec![deviation()],
        coverage: Coverage {
            bytes_compared: 1 << 40,
            ..Coverage::default()
        },
        golden: None,
        undecided_words: 0,
        noise: None,
        warnings: Vec::new(),
        investigation: None,
        recording: Some(RecordingRecord {
            replica: ReplicaIndex(0),
            events: 9,
            bytes: 70,
            instructions: InstructionCount(800),
        }),
    }
}

fn document() -> Value {
    serde_json::to_value(Document::new(RunDocument::from(&run()))).unwrap()
}

/// The keys of the object at `pointer` contain all of `promised`.
fn check(pointer: &str, promised: &[&str]) {
    let document = document();
    let object = document.pointer(pointer).unwrap();
    for key in promised {
        assert!(object.get(key).is_some(), "{pointer} has no {key}");
    }
}

#[test]
fn every_promised_key_is_there() {
    check("", &["schema", "data", "warnings"]);
    let run = "id computation accelerator cpu_model deterministic verdict reason replicas \
               injections deviations coverage";
    check("/data", &run.split_whitespace().collect::<Vec<_>>());
    check(
        "/data/replicas/0",
        &["index", "outcome", "placement", "cpu_s", "steps"],
    );
    check(
        "/data/injections/0",
        &["replica", "part", "address", "bit", "when", "fate"],
    );
    check(
        "/data/deviations/0",
        &[
            "replica",
            "score",
            "baseline",
            "severity",
            "first",
            "differences",
        ],
    );
    check(
        "/data/coverage",
        &[
            "bytes_compared",
            "bytes_masked",
            "bytes_not_compared",
            "units",
            "upper_bound",
        ],
    );
}

#[test]
fn values_have_the_promised_form() {
    let document = document();
    let at = |pointer: &str| document.pointer(pointer).unwrap().clone();
    assert_eq!(at("/schema"), "vardoger/run/1");
    assert_eq!(at("/data/seed"), "0xffffffffffffffff");
    assert_eq!(at("/data/started"), "2023-11-14T22:13:20Z");
    assert_eq!(at("/data/verdict"), "deviates");
    assert_eq!(at("/data/replicas/0/outcome"), "crashed");
    assert_eq!(at("/data/replicas/0/outcome_detail"), "triple fault");
    assert_eq!(at("/data/replicas/0/cpu_s"), 1.5);
    assert_eq!(at("/data/injections/0/fate"), "live");
    assert_eq!(at("/data/coverage/upper_bound"), Value::Null);
    assert_eq!(
        at("/data/deviations/0/first"),
        json!({
            "part": "memory",
            "address": "0xfffffffffffffff8",
            "name": null,
            "expected": "0000000000000000",
            "found": "0100000000000000",
            "flipped_bits": [0],
            "symbol": "init_task+0x8",
            "owner": "[heap] of init (pid 1)",
            "owner_kind": "process",
            "process": {"pid": 1, "name": "init"},
            "mapping": {
                "start": "0x7000",
                "end": "0x9000",
                "permissions": "rw-p",
                "name": "[heap]",
            },
            "virtual_address": "0x8ff8",
            "type": "task_struct",
            "field": "comm[3]",
            "object": {
                "cache": "task_struct",
                "index": 2,
                "address": "0xffff888000008000",
                "offset": 0x98,
                "in_use": true,
            },
            "file": {"path": "/init", "offset": 0x1008},
            "buffer": {"name": "matrix", "offset": 24},
            "basis": "typed-object",
            "confidence": 0.998,
        })
    );
    assert_eq!(at("/data/deviations/0/differences/1/name"), "rax");
    assert_eq!(at("/data/deviations/0/differences/1/address"), Value::Null);
}

#[test]
fn the_document_has_exactly_the_keys_of_its_schema() {
    let all = schema::schemas();
    let schema = all.iter().find(|one| one.name == "vardoger/run/1");
    let schema = &schema.unwrap().schema;
    let properties = schema.pointer("/$defs/RunDocument/properties").unwrap();
    let keys = |value: &Value| {
        let object = value.as_object().unwrap();
        object
            .keys()
            .cloned()
            .collect::<std::collections::BTreeSet<_>>()
    };
    assert_eq!(keys(properties), keys(&document()["data"]));
}
