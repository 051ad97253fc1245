//! Whole runs over the fake hypervisor: every way in which a machine or a call can fail, in moments
//! and without an emulator. What was ordered to go wrong is the truth that runs are held to.

mod support;

use anyhow::Context;
use computation::job::Mark;
use control::injection::Injection;
use control::{Computation, RunRequest};
use hypervisor::sim::{CallTrouble, GuestTrouble, SimHypervisor, Trouble};
use model::{Fate, FindingKind, Outcome, Part, ReplicaIndex, Run, Verdict};
use store::FindingFilter;
use support::simulated::Bench;

/// Runs of each kind that is drawn from a seed.
const SEEDS: u64 = 100;

/// A page that gathers all that is written to it, and one that nobody touches.
const GATHERING: u64 = 0x20_0000;
const QUIET: u64 = 0x3f_0000;

fn replica(replica: u64, step: u64, what: GuestTrouble) -> Trouble {
    Trouble::Replica {
        replica,
        step,
        what,
    }
}

/// Who deviates.
fn named(run: &Run) -> Vec<Option<ReplicaIndex>> {
    run.deviations.iter().map(|one| one.replica).collect()
}

#[tokio::test]
async fn a_clean_run_passes_and_agrees_with_the_golden_digest() -> anyhow::Result<()> {
    let bench = Bench::open().await?;
    for computation in computation::catalogue() {
        let run = bench
            .run(SimHypervisor::new(), |request| {
                request.computation = Computation::Library(computation);
                request.replicas = 5;
            })
            .await??;
        assert_eq!(run.verdict, Verdict::Pass, "{}", run.reason);
        assert!(run.coverage.bytes_compared > 0);
        let digests: Vec<_> = run.replicas.iter().map(|one| &one.result_digest).collect();
        assert!(digests.iter().all(|digest| digest.is_some()));
        if let Some(golden) = &run.golden {
            assert_eq!(digests[0].as_ref(), Some(golden));
        }
    }
    Ok(())
}

#[tokio::test]
async fn a_wrong_bit_is_found_with_its_replica_address_and_bit() -> anyhow::Result<()> {
    let bench = Bench::open().await?;
    for seed in 0..SEEDS {
        let (wrong, bit) = (seed % 3, (seed % 8) as u32);
        let address = GATHERING + seed * 131 % 4096;
        let flip = GuestTrouble::Flip { address, bit };
        let run = bench.troubled(vec![replica(wrong, 1, flip)]).await?;
        assert_eq!(run.verdict, Verdict::Deviates, "seed {seed}");
        let [deviation] = run.deviations.as_slice() else {
            anyhow::bail!("seed {seed}: {:?}", run.deviations);
        };
        assert_eq!(deviation.replica, Some(ReplicaIndex(wrong as u32)));
        assert_eq!(deviation.differing_words, 1, "seed {seed}");
        let first = deviation.first.as_ref().context("no difference")?;
        assert_eq!(first.part, Part::Memory);
        assert_eq!(first.locus.to_string(), format!("{:#x}", address & !7));
        assert_eq!(first.flipped_bits, [(address % 8 * 8) as u32 + bit]);
        // It reached the result.
        let digest = |index: u64| &run.replicas[index as usize].result_digest;
        assert_ne!(digest(wrong), digest((wrong + 1) % 3), "seed {seed}");
        assert_eq!(digest((wrong + 1) % 3), digest((wrong + 2) % 3));
    }
    Ok(())
}

#[tokio::test]
async fn ordered_faults_live_or_are_masked_and_nobody_else_is_named() -> anyhow::Result<()> {
    let bench = Bench::open().await?;
    let (mut live, mut masked) = (0, 0);
    for seed in 0..SEEDS {
        let run = bench
            .run(SimHypervisor::new(), |request| {
                request.seed = seed;
                request.injections = vec![Injection::parse("ram=live").expect("a fault")];
            })
            .await??;
        let [injection] = run.injections.as_slice() else {
            anyhow::bail!("{:?}", run.injections);
        };
        match injection.fate {
            Fate::Live => {
                live += 1;
                assert_eq!(named(&run), [Some(injection.replica)], "seed {seed}");
            }
            Fate::Masked => {
                masked += 1;
                assert_eq!(run.verdict, Verdict::Pass, "seed {seed}");
            }
        }
    }
    assert!(live > 0 && masked > 0, "{live} live, {masked} masked");
    Ok(())
}

#[tokio::test]
async fn a_flipped_register_is_found() -> anyhow::Result<()> {
    let bench = Bench::open().await?;
    for (register, kind) in [
        ("r12", FindingKind::SilentWrongOutput),
        ("r13", FindingKind::LatentDifference),
        ("rip", FindingKind::Crash),
    ] {
        let run = bench
            .run(SimHypervisor::new(), |request| {
                let fault = format!("reg={register}:7,replica=1");
                request.injections = vec![Injection::parse(&fault).expect("a fault")];
            })
            .await??;
        assert_eq!(named(&run), [Some(ReplicaIndex(1))], "{register}");
        let of_run = FindingFilter {
            run: Some(run.id),
            ..FindingFilter::default()
        };
        let findings = bench.store.findings(of_run).await?;
        assert_eq!(findings[0].kind, kind, "{register}");
    }
    Ok(())
}

#[tokio::test]
async fn hangs_crashes_failures_and_lies_are_found() -> anyhow::Result<()> {
    let bench = Bench::open().await?;
    let crashed = |how: &str| Outcome::Crashed(how.to_owned());
    for (what, outcome) in [
        (GuestTrouble::Hang, Outcome::Hung),
        (
            GuestTrouble::Crash("triple fault".to_owned()),
            crashed("triple fault"),
        ),
        (
            GuestTrouble::Fail("no memory".to_owned()),
            crashed("no memory"),
        ),
        (GuestTrouble::Silence, crashed("it stopped without a mark")),
    ] {
        let run = bench.troubled(vec![replica(2, 1, what.clone())]).await?;
        assert_eq!(run.verdict, Verdict::Deviates, "{what:?}");
        assert_eq!(named(&run), [Some(ReplicaIndex(2))], "{what:?}");
        assert_eq!(run.replicas[2].outcome, outcome);
        assert_eq!(run.replicas[0].outcome, Outcome::Ended);
    }
    // A line that nobody else says is a difference in the log; an order in it is none.
    let said = GuestTrouble::Say(b"vd1 mark {\"name\":\"half\"}\n\x1b[2Jhello\n".to_vec());
    let run = bench.troubled(vec![replica(0, 1, said)]).await?;
    assert_eq!(named(&run), [Some(ReplicaIndex(0))]);
    let log = run.deviations[0].differences.iter();
    assert!(log.filter(|one| one.part == Part::Log).count() > 0);
    assert!(
        run.deviations[0]
            .differences
            .iter()
            .all(|one| !one.found.contains('\x1b'))
    );
    Ok(())
}

#[tokio::test]
async fn without_a_majority_nobody_is_named() -> anyhow::Result<()> {
    let bench = Bench::open().await?;
    let hang = |index| replica(index, 1, GuestTrouble::Hang);
    let crash = |index| replica(index, 1, GuestTrouble::Crash("reset".to_owned()));
    let run = bench.troubled(vec![hang(0), crash(1)]).await?;
    assert_eq!(run.verdict, Verdict::Inconclusive, "{}", run.reason);
    let run = bench.troubled(vec![hang(0), hang(1), hang(2)]).await?;
    assert_eq!(run.verdict, Verdict::Skipped, "{}", run.reason);
    Ok(())
}

#[tokio::test]
async fn a_machine_that_does_not_boot_fails_the_run_by_name() -> anyhow::Result<()> {
    for (what, words) in [
        (GuestTrouble::Hang, "no sign of it"),
        (GuestTrouble::Crash("panic".to_owned()), "shut down (panic)"),
        (GuestTrouble::Fail("no port".to_owned()), "no port"),
        (GuestTrouble::Silence, "without an introduction"),
    ] {
        let bench = Bench::open().await?;
        let hypervisor = SimHypervisor::with(vec![Trouble::Boot(what)]);
        let error = bench.run(hypervisor, |_| {}).await?.err();
        let error = error.context("it ran")?.to_string();
        assert!(error.contains(words), "{error}");
        assert!(bench.last_failure().await?.contains(words));
        // Nothing half made is left, and the next run boots.
        let run = bench.run(SimHypervisor::new(), |_| {}).await??;
        assert_eq!(run.verdict, Verdict::Pass);
    }
    Ok(())
}

#[tokio::test]
async fn every_call_may_fail_and_the_run_is_recorded_as_failed() -> anyhow::Result<()> {
    let inject = |request: &mut RunRequest| {
        request.injections = vec![
            Injection::parse("ram=live,replica=1").expect("a fault"),
            Injection::parse("reg=r13,replica=0").expect("a fault"),
        ];
    };
    let whole = SimHypervisor::new();
    let bench = Bench::open().await?;
    bench.run(whole.clone(), inject).await??;
    let calls = whole.calls();
    assert!(calls > 30, "{calls}");
    for number in 1..=calls {
        let how = if number % 2 == 0 {
            CallTrouble::MonitorLost
        } else {
            CallTrouble::InputOutput
        };
        let bench = Bench::open().await?;
        let hypervisor = SimHypervisor::with(vec![Trouble::Call { number, how }]);
        let ended = bench.run(hypervisor, inject).await?;
        let error = ended
            .err()
            .with_context(|| format!("call {number} failed unseen"))?;
        let text = error.to_string();
        let told = text.contains("signal: 9") || text.contains("sim: Input/output error");
        assert!(told, "call {number}: {text}");
        assert_eq!(bench.last_failure().await?, text);
        let left = std::fs::read_dir(bench.place().join("store/cache/machines"))?;
        let unfinished = left.flatten().filter(|entry| {
            entry
                .file_name()
                .to_string_lossy()
                .starts_with("unfinished")
        });
        assert_eq!(unfinished.count(), 0, "call {number}");
    }
    Ok(())
}

#[tokio::test]
async fn evidence_is_written_and_holds_the_fault() -> anyhow::Result<()> {
    let bench = Bench::open().await?;
    let flip = GuestTrouble::Flip {
        address: QUIET + 5,
        bit: 3,
    };
    let run = bench.troubled(vec![replica(1, 0, flip)]).await?;
    let key = run.replicas[1].state.clone().context("no state")?;
    let right = format!("runs/{}/majority.state", run.id);
    let mut bytes = Vec::new();
    for key in [key, right] {
        let blob = bench.store.get_blob(&key).await?;
        let file = state::read_state(&mut blob.as_slice())?;
        let state::Memory::Changed(pages) = file.state.memory else {
            anyhow::bail!("a full image");
        };
        bytes.push(pages.page(QUIET / 4096).context("no page")?[5]);
    }
    assert_eq!(bytes[0] ^ bytes[1], 1 << 3);
    assert!(run.replicas[0].state.is_none());
    Ok(())
}

#[tokio::test]
async fn equal_orders_do_equal_things() -> anyhow::Result<()> {
    let bench = Bench::open().await?;
    let mut seen = Vec::new();
    for _ in 0..2 {
        let run = bench
            .run(SimHypervisor::new(), |request| {
                request.seed = 11;
                request.injections = vec![Injection::parse("ram=live@step:1").expect("a fault")];
            })
            .await??;
        assert_eq!(run.injections[0].when, Mark::Step(1).to_string());
        seen.push((run.injections, run.deviations));
    }
    assert_eq!(seen[0], seen[1]);
    Ok(())
}
