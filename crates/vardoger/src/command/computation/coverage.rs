//! `computation coverage`: what the library exercises, beside what others do and what this
//! processor has.

use super::words;
use crate::args::Global;
use crate::failure::Failure;
use crate::{output, report};
use computation::coverage::{
    Algorithm, ClassCoverage, DataType, ExtensionCoverage, Standing, Unit, classes, computations,
    extensions, no_algorithm, no_data_type, no_unit, of_this_processor,
};
use schema::{
    ComputationCoverageDocument, CoveredClass, CoveredExtension, Document, ExercisedWord,
};

/// Shown where there is nothing to show.
const NOTHING: &str = "–";

/// Prints the matrix. A class of another tool's list that is neither exercised nor explained is a
/// failure.
pub(crate) fn coverage(global: &Global) -> Result<(), Failure> {
    let document = document();
    if global.json() {
        output::document(global, &Document::new(document.clone()))?;
    } else {
        output::text(&text(&document))?;
    }
    let absent = document
        .classes
        .iter()
        .filter(|class| class.standing == "absent");
    let absent: Vec<&str> = absent.map(|class| class.name.as_str()).collect();
    if absent.is_empty() {
        return Ok(());
    }
    let said = "neither exercised nor explained";
    Err(Failure::of(
        "cannot vouch for the library",
        &format!("{said}: {}", absent.join(", ")),
    ))
}

fn document() -> ComputationCoverageDocument {
    ComputationCoverageDocument {
        units: exercised(Unit::ALL, |unit| {
            let by = computations(|entry| entry.units.contains(unit));
            (by, no_unit(*unit))
        }),
        data_types: exercised(DataType::ALL, |one| {
            let by = computations(|entry| entry.data_types.contains(one));
            (by, no_data_type(*one))
        }),
        algorithms: exercised(Algorithm::ALL, |one| {
            let by = computations(|entry| entry.algorithms.contains(one));
            (by, no_algorithm(*one))
        }),
        classes: classes().into_iter().map(class).collect(),
        extensions: extensions(&of_this_processor())
            .into_iter()
            .map(extension)
            .collect(),
    }
}

/// Who exercises a word, and why nobody does.
type By = (Vec<&'static str>, Option<&'static str>);

fn exercised<T: ToString>(all: &[T], by: impl Fn(&T) -> By) -> Vec<ExercisedWord> {
    let row = |word: &T| {
        let (by, reason) = by(word);
        ExercisedWord {
            name: word.to_string(),
            computations: words(&by),
            reason: reason.map(str::to_owned),
        }
    };
    all.iter().map(row).collect()
}

fn class(class: ClassCoverage) -> CoveredClass {
    let (standing, computations, reason) = match &class.standing {
        Standing::Exercised(by) => ("exercised", words(by), None),
        Standing::NotExercised(reason) => ("not-exercised", Vec::new(), Some((*reason).to_owned())),
        Standing::Absent => ("absent", Vec::new(), None),
    };
    CoveredClass {
        list: class.list.to_string(),
        name: class.name.to_owned(),
        standing: standing.to_owned(),
        computations,
        reason,
    }
}

fn extension(one: ExtensionCoverage) -> CoveredExtension {
    CoveredExtension {
        name: one.extension.name.to_owned(),
        brings: one.extension.brings.to_owned(),
        computations: words(&one.computations),
        repeatable: one.repeatable,
    }
}

fn text(document: &ComputationCoverageDocument) -> String {
    let classes = document.classes.iter().map(class_row);
    let extensions = document.extensions.iter().map(extension_row);
    [
        matrix("unit", &document.units),
        matrix("data type", &document.data_types),
        matrix("algorithm", &document.algorithms),
        headed(["list", "class", "exercised by"], classes),
        headed(
            ["this processor has", "which brings", "exercised by"],
            extensions,
        ),
        summary(document),
    ]
    .join("\n")
}

fn matrix(of: &str, rows: &[ExercisedWord]) -> String {
    let row = |word: &ExercisedWord| {
        let by = told(&word.computations, word.reason.as_deref());
        [word.name.clone(), by]
    };
    headed([of, "exercised by"], rows.iter().map(row))
}

fn class_row(class: &CoveredClass) -> [String; 3] {
    let by = told(&class.computations, class.reason.as_deref());
    [class.list.clone(), class.name.clone(), by]
}

fn extension_row(one: &CoveredExtension) -> [String; 3] {
    let by = match one.repeatable {
        true => list(&one.computations),
        false => "not: its results are not repeatable".to_owned(),
    };
    [one.name.clone(), one.brings.clone(), by]
}

fn headed<const N: usize>(head: [&str; N], rows: impl Iterator<Item = [String; N]>) -> String {
    let mut all = vec![head.map(str::to_owned).to_vec()];
    all.extend(rows.map(|row| row.to_vec()));
    report::table(&all)
}

/// Who exercises it, or why nobody does.
fn told(computations: &[String], reason: Option<&str>) -> String {
    match reason {
        Some(reason) => format!("not: {reason}"),
        None => list(computations),
    }
}

fn list(names: &[String]) -> String {
    if names.is_empty() {
        return NOTHING.to_owned();
    }
    names.join(", ")
}

fn summary(document: &ComputationCoverageDocument) -> String {
    let used = |words: &[ExercisedWord]| {
        let used = words
            .iter()
            .filter(|word| !word.computations.is_empty())
            .count();
        format!("{used} of {}", words.len())
    };
    let standing = |name: &str| {
        let classes = document.classes.iter();
        classes.filter(|class| class.standing == name).count()
    };
    let idle = document.extensions.iter();
    let idle = idle.filter(|one| one.repeatable && one.computations.is_empty());
    let idle: Vec<String> = idle.map(|one| one.name.clone()).collect();
    report::rows(&[
        ("units", format!("{} exercised", used(&document.units))),
        (
            "data types",
            format!("{} exercised", used(&document.data_types)),
        ),
        (
            "algorithms",
            format!("{} exercised", used(&document.algorithms)),
        ),
        (
            "lists",
            format!(
                "{} classes exercised, {} not and why, {} absent",
                standing("exercised"),
                standing("not-exercised"),
                standing("absent")
            ),
        ),
        ("idle here", list(&idle)),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_people_read_names_every_class_and_every_extension() {
        let document = document();
        let text = text(&document);
        for class in &document.classes {
            assert!(text.contains(&class.name), "{}", class.name);
        }
        for one in &document.extensions {
            assert!(text.contains(&one.brings), "{}", one.name);
        }
        assert!(text.contains(" 0 absent"), "{text}");
        // Only extensions of this processor may have nothing beside them.
        let (words, _) = text.split_once("this processor has").unwrap();
        assert!(!words.contains(NOTHING), "{words}");
    }

    #[test]
    fn an_extension_that_nothing_executes_is_idle_unless_it_is_not_repeatable() {
        let one = |name: &str, computations: Vec<String>, repeatable| CoveredExtension {
            name: name.to_owned(),
            brings: String::new(),
            computations,
            repeatable,
        };
        let mut document = document();
        document.extensions = vec![
            one("tiles", Vec::new(), true),
            one("random", Vec::new(), false),
            one("aes", vec!["aes".to_owned()], true),
        ];
        let summary = summary(&document);
        let idle = summary
            .lines()
            .find(|line| line.contains("idle here"))
            .unwrap();
        assert!(idle.contains("tiles"), "{idle}");
        assert!(!idle.contains("random") && !idle.contains("aes"), "{idle}");
    }
}
