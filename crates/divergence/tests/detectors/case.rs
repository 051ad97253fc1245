//! A case: faultless replicas, a fault, and what must be said of it.

use divergence::{Analysis, Context, Options, Replica, analyse};
use model::{FindingKind, MetricSample, Outcome, PAGE_BYTES, Part, ReplicaIndex, Verdict};
use state::{Base, ChangedPages, Memory, Registers, TerminalState, disk_block_name};
use std::collections::BTreeMap;

/// Pages of the machine; the snapshot's image holds none of them, so all are zero there.
pub(crate) const TOTAL_PAGES: u64 = 64;

/// The pages that every replica changes: the first, some, and the last of the machine.
pub(crate) const PAGES: [u64; 4] = [0, 2, 3, TOTAL_PAGES - 1];

/// A fault: what it does to one replica's state.
pub(crate) type Fault = fn(&mut TerminalState);

/// One line of a table.
#[derive(Clone)]
pub(crate) struct Case {
    pub(crate) replicas: usize,
    /// Which replica gets which fault.
    pub(crate) faults: Vec<(usize, Fault)>,
    pub(crate) deterministic: bool,
    pub(crate) golden: Option<&'static str>,
    pub(crate) verdict: Verdict,
    /// Who is named.
    pub(crate) named: Vec<u32>,
    /// The kinds of all findings, in their order.
    pub(crate) kinds: Vec<FindingKind>,
    /// Part and locus of the first difference of the first finding.
    pub(crate) first: Option<(Part, &'static str)>,
}

impl Case {
    /// A fault in replica 1 of three, which must be named.
    pub(crate) fn named(kind: FindingKind, part: Part, locus: &'static str, fault: Fault) -> Self {
        Self {
            replicas: 3,
            faults: vec![(1, fault)],
            deterministic: true,
            golden: None,
            verdict: Verdict::Deviates,
            named: vec![1],
            kinds: vec![kind],
            first: Some((part, locus)),
        }
    }

    /// Faults after which nobody is named and nothing is found.
    pub(crate) fn silent(replicas: usize, faults: Vec<(usize, Fault)>, verdict: Verdict) -> Self {
        Self {
            replicas,
            faults,
            verdict,
            named: Vec::new(),
            kinds: Vec::new(),
            first: None,
            ..Self::named(FindingKind::Undecided, Part::Memory, "", |_| {})
        }
    }

    /// So many replicas without a fault.
    pub(crate) fn of(replicas: usize) -> Self {
        Self::silent(replicas, Vec::new(), Verdict::Pass)
    }

    /// The same fault in another replica of so many.
    pub(crate) fn in_replica(mut self, replica: u32, replicas: usize) -> Self {
        self.replicas = replicas;
        for (position, _) in &mut self.faults {
            *position = replica as usize;
        }
        self.named = vec![replica];
        self
    }

    /// The same fault in one of two: something is wrong, and nobody is named.
    pub(crate) fn of_two(mut self) -> Self {
        self.replicas = 2;
        self.named = Vec::new();
        self
    }
}

/// The state in which a faultless replica ends.
pub(crate) fn good() -> TerminalState {
    let mut wide = "0".repeat(127);
    wide.push('1');
    let registers = [
        ("eflags", "00000246 [---Z-P-]"),
        ("rax", "00000000000000ff"),
        ("zmm31", wide.as_str()),
    ];
    let file = |name: &str, length: u8| (name.to_owned(), (1..=length).collect::<Vec<u8>>());
    TerminalState {
        memory: Memory::Changed(pages(&PAGES)),
        registers: registers_of(&registers),
        log: ["start", "", "step 1", "end"].map(str::to_owned).to_vec(),
        files: BTreeMap::from([file("empty", 0), file("odd", 13), file("out", 16)]),
        disk: BTreeMap::from([
            (disk_block_name(0), vec![5; 32]),
            (disk_block_name(0x1_0000), (1..=32).collect()),
        ]),
        metrics: vec![
            metric("instructions", 1e9, true),
            metric("page_faults", 0.0, true),
            metric("wall_s", 1.5, false),
        ],
        outcome: Outcome::Ended,
        result_digest: Some("d1".to_owned()),
        exit_status: None,
    }
}

/// Pages of which each byte is the page's number, or 9 in page 0.
pub(crate) fn pages(numbers: &[u64]) -> ChangedPages {
    let filled = |number: &u64| [if *number == 0 { 9 } else { *number as u8 }; PAGE_BYTES];
    let bytes = numbers.iter().flat_map(filled).collect();
    ChangedPages::new(numbers.to_vec(), bytes).unwrap()
}

pub(crate) fn registers_of(registers: &[(&str, &str)]) -> Registers {
    let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
    let map: BTreeMap<String, String> = registers.iter().map(owned).collect();
    Registers::try_from(map).unwrap()
}

pub(crate) fn metric(name: &str, value: f64, exact: bool) -> MetricSample {
    MetricSample {
        name: name.to_owned(),
        value,
        exact,
    }
}

/// Flips bits of one byte of changed memory.
pub(crate) fn flip(state: &mut TerminalState, address: u64, mask: u8) {
    let Memory::Changed(changed) = &state.memory else {
        panic!("the memory is not changed pages");
    };
    let page = address / PAGE_BYTES as u64;
    let position = changed.numbers().binary_search(&page).unwrap();
    let mut bytes = changed.bytes().to_vec();
    bytes[position * PAGE_BYTES + (address % PAGE_BYTES as u64) as usize] ^= mask;
    let numbers = changed.numbers().to_vec();
    state.memory = Memory::Changed(ChangedPages::new(numbers, bytes).unwrap());
}

/// Sets or removes one register.
pub(crate) fn set_register(state: &mut TerminalState, name: &str, value: Option<&str>) {
    let mut registers = state.registers.as_map().clone();
    match value {
        Some(value) => registers.insert(name.to_owned(), value.to_owned()),
        None => registers.remove(name),
    };
    state.registers = Registers::try_from(registers).unwrap();
}

pub(crate) fn analysed(states: &[TerminalState], case: &Case) -> Analysis {
    let context = Context {
        base: Base::new(&[], TOTAL_PAGES * PAGE_BYTES as u64).unwrap(),
        deterministic: case.deterministic,
        symbols: None,
        golden: case.golden,
        units: Vec::new(),
        host_units_exercised: false,
        not_compared: Vec::new(),
        history: None,
        aligned: None,
    };
    let replicas: Vec<Replica<'_>> = (0..)
        .map(ReplicaIndex)
        .zip(states)
        .map(|(index, state)| Replica { index, state })
        .collect();
    analyse(&replicas, &context, &Options::default()).unwrap()
}

/// Silence without the fault; with it, what the case says.
pub(crate) fn check(case: &Case) {
    let mut states = vec![good(); case.replicas];
    let clean = analysed(&states, case);
    assert_eq!(clean.verdict, Verdict::Pass, "clean: {}", clean.reason);
    assert!(clean.findings.is_empty() && clean.deviations.is_empty());

    for (replica, fault) in &case.faults {
        fault(&mut states[*replica]);
    }
    let analysis = analysed(&states, case);
    assert_eq!(analysis.verdict, case.verdict, "{}", analysis.reason);
    let named: Vec<u32> = analysis
        .deviations
        .iter()
        .filter_map(|one| Some(one.replica?.0))
        .collect();
    assert_eq!(named, case.named, "{}", analysis.reason);
    let kinds: Vec<FindingKind> = analysis.findings.iter().map(|one| one.kind).collect();
    assert_eq!(kinds, case.kinds, "{}", analysis.reason);
    for finding in &analysis.findings {
        assert!(finding.severity >= finding.kind.floor());
        assert!((1..=100).contains(&finding.score), "{}", finding.score);
    }
    let evidence = analysis.findings.first().map(|one| one.evidence.first());
    let first = evidence.flatten();
    let first = first.map(|one| (one.part, one.locus.to_string()));
    let expected = case.first.map(|(part, locus)| (part, locus.to_owned()));
    assert_eq!(first, expected, "{}", analysis.reason);
}

/// Makes a table into tests, one a line, and into a list for the tests of the tables.
macro_rules! cases {
    ($($name:ident => $case:expr;)+) => {
        pub(crate) fn cases() -> Vec<crate::case::Case> {
            vec![$($case),+]
        }

        $(
            #[test]
            fn $name() {
                crate::case::check(&$case);
            }
        )+
    };
}
pub(crate) use cases;
