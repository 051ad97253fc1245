//! What earlier deviations say: whether they follow a core, or stay in a page.

use super::Subject;
use super::shape::Shape;
use super::source;
use super::surroundings::{Core, EarlierDeviation};
use super::weight::Weight;
use std::collections::BTreeSet;

/// The share of a processor's defects that are bound to one physical core (SiliFuzz). A study that
/// counts machines instead, PinDrop, has 62 %; SEVI found 18 of 18.
const ONE_CORE: f64 = 0.70;

/// Pages of a small machine that a run changes; a page that two runs share by chance is one in so
/// many.
const CHANGED_PAGES: f64 = 4_000.0;

/// How often a faulty cell is seen again in a later run that deviates; ours: no study of DRAM counts
/// runs.
const CELL_AGAIN: f64 = 0.5;

/// Deviations on so many different cores are spread.
const SPREAD_CORES: usize = 3;

/// Whether earlier deviations were on the same core, against what chance had to choose from.
pub(super) fn follows_core(subject: &Subject<'_>) -> Option<Weight> {
    let here = subject.core?;
    let chances: Vec<(bool, f64)> = subject
        .surroundings
        .earlier
        .iter()
        .map(|earlier| (earlier.core == *here, chance(earlier, here)))
        .filter(|(_, chance)| (f64::EPSILON..1.0).contains(chance))
        .collect();
    if chances.is_empty() {
        return None;
    }
    // A defect is bound to the core, and then all are on it; or it is not, and chance decides.
    let all_on_it: f64 = chances
        .iter()
        .map(|(same, chance)| if *same { 1.0 / chance } else { 0.0 })
        .product();
    let ratio = ONE_CORE * all_on_it + (1.0 - ONE_CORE);
    let same = chances.iter().filter(|(same, _)| *same).count();
    let reason = format!(
        "{same} of {} earlier deviations were on this core, {}",
        chances.len(),
        name(here)
    );
    Some(Weight::new(ratio, reason).from(source::SILIFUZZ))
}

/// The share of an earlier run's replicas that were on this core.
fn chance(earlier: &EarlierDeviation, here: &Core) -> f64 {
    let on_it = earlier.cores.iter().filter(|core| *core == here).count();
    on_it as f64 / earlier.cores.len().max(1) as f64
}

fn name(core: &Core) -> String {
    match core.socket {
        Some(socket) => format!("core {} of socket {socket}", core.core),
        None => format!("core {}", core.core),
    }
}

/// Whether the page was wrong in earlier runs on other cores.
pub(super) fn stays_in_place(subject: &Subject<'_>, shape: &Shape) -> Option<Weight> {
    let here = subject.core?;
    let earlier = &subject.surroundings.earlier;
    let elsewhere: Vec<&EarlierDeviation> =
        earlier.iter().filter(|one| one.core != *here).collect();
    let again = |one: &&&EarlierDeviation| !one.pages.is_disjoint(&shape.pages);
    let same = elsewhere.iter().filter(again).count();
    let ratio = |one: &&EarlierDeviation| {
        let chance = shape.pages.len() as f64 * one.pages.len() as f64 / CHANGED_PAGES;
        match (one.pages.is_disjoint(&shape.pages), chance < CELL_AGAIN) {
            (_, false) => 1.0,
            (true, _) => 1.0 - CELL_AGAIN,
            (false, _) => CELL_AGAIN / chance,
        }
    };
    (!elsewhere.is_empty() && !shape.pages.is_empty()).then(|| {
        let reason = format!(
            "{same} of {} earlier deviations on other cores were in the same page",
            elsewhere.len()
        );
        Weight::new(elsewhere.iter().map(ratio).product(), reason)
    })
}

/// Faults of software are spread over cores, those of a core are not.
pub(super) fn spread(subject: &Subject<'_>) -> Option<Weight> {
    let earlier = &subject.surroundings.earlier;
    let cores: BTreeSet<&Core> = earlier
        .iter()
        .map(|one| &one.core)
        .chain(subject.core)
        .collect();
    let spread = cores.len() >= SPREAD_CORES && cores.len() > earlier.len();
    spread.then(|| {
        let reason = format!("deviations were on {} different cores", cores.len());
        Weight::new(3.0, reason).from(source::GOOGLE)
    })
}
