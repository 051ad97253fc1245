//! The law of the layers: who may depend on whom.
//!
//! ```text
//! 5 chores       fuzz  xtask
//! 4 binary       vardoger
//! 3 application  control  api  web
//! 2 adapters     hypervisor  guest  block  telemetry  store  bus  sandbox  preload
//! 1 pure         state  introspection  computation  divergence  shadow  twin  cause …
//! 0 vocabulary   model  schema  stats
//! – no code      workspace-hack
//! – for tests    workshop
//! ```
//!
//! A crate may depend on lower layers, and on its own layer only where [`SIDEWAYS`] says so. Tests may
//! look sideways, never up; what is there for tests is open to those of every layer, and to chores,
//! and uses nothing of ours. Layers 0 and 1 do no input or output, so crates that do are closed to
//! them. Adding a crate to the workspace means adding it to [`LAYERS`].

use super::workspace::{Dependency, Member, Workspace};

/// A layer; a greater one stands above and may use what is below.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Layer {
    /// No code: features that the parts of the workspace share.
    Features,
    /// A bench that tests stand on: no part of the product.
    Tests,
    /// Words that everything shares.
    Vocabulary,
    /// Data in, data out.
    Pure,
    /// Contact with the world.
    Adapter,
    /// Use cases that join engines and adapters.
    Application,
    /// The product's one program.
    Binary,
    /// The project's own tools.
    Chores,
}

/// Every crate that the workspace may hold.
const LAYERS: &[(Layer, &[&str])] = &[
    (Layer::Features, &["workspace-hack"]),
    (Layer::Tests, &["workshop"]),
    (Layer::Vocabulary, &["model", "schema", "stats"]),
    (
        Layer::Pure,
        &[
            "state",
            "introspection",
            "computation",
            "divergence",
            "shadow",
            "twin",
            "cause",
            "propagation",
            "image",
            "disk",
        ],
    ),
    (
        Layer::Adapter,
        &[
            "hypervisor",
            "guest",
            "block",
            "telemetry",
            "store",
            "bus",
            "sandbox",
            "rootfs",
            "preload",
        ],
    ),
    (Layer::Application, &["control", "api", "web"]),
    (Layer::Binary, &["vardoger"]),
    (Layer::Chores, &["fuzz", "xtask"]),
];

/// The dependencies within a layer that are allowed: from, to.
const SIDEWAYS: &[(&str, &str)] = &[
    ("schema", "model"),
    ("divergence", "state"),
    ("divergence", "introspection"),
    ("shadow", "state"),
    ("shadow", "introspection"),
    ("state", "introspection"),
    ("shadow", "cause"),
    ("twin", "cause"),
    ("image", "disk"),
    ("api", "control"),
    ("api", "web"),
    ("xtask", "fuzz"),
];

/// Crates of others that read files or clocks, talk to the system, or draw randomness: closed to the
/// layers without input and output, except in tests.
const CLOSED_TO_PURE: &[&str] = &[
    "async-std",
    "axum",
    "getrandom",
    "hyper",
    "libc",
    "mio",
    "nix",
    "object_store",
    "qapi",
    "rand",
    "reqwest",
    "rusqlite",
    "rustix",
    "socket2",
    "sqlx",
    "tempfile",
    "tokio",
];

/// What is open nevertheless, each for its reason: from, to.
const OPEN_TO_PURE: &[(&str, &str)] = &[
    // A computation works on a database in memory: it opens no file.
    ("computation", "rusqlite"),
];

/// Crates of others that are closed to one crate: the traits in between are there for that.
const CLOSED_TO: &[(&str, &[&str])] = &[("control", &["axum", "qapi", "rusqlite"])];

/// The version of every crate of ours: none is released by itself.
const VERSION: &str = "0.0.0";

/// One thing that a crate must not do.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Violation {
    /// The crate stands in no layer.
    #[error("{krate} stands in no layer: add it to the table of layers")]
    Unknown {
        /// The crate.
        krate: String,
    },
    /// A dependency points up, or sideways where that is not allowed.
    #[error("{from} must not depend on {to}: only lower layers, and the listed ones of its own")]
    Direction {
        /// The crate that depends.
        from: String,
        /// The crate depended on.
        to: String,
    },
    /// A dependency on a crate of others that is closed to this one.
    #[error("{from} must not depend on {to}: that belongs in an adapter")]
    Closed {
        /// The crate that depends.
        from: String,
        /// The crate depended on.
        to: String,
    },
    /// The folder has another name than the crate.
    #[error("{krate} lies in a folder named {folder}: both must have the same name")]
    Folder {
        /// The crate.
        krate: String,
        /// Its folder.
        folder: String,
    },
    /// The crate looks as if it were released by itself.
    #[error("{krate} must have version {VERSION} and publish = false")]
    Released {
        /// The crate.
        krate: String,
    },
    /// The crate sets its own lints.
    #[error("{krate} must take its lints from the workspace")]
    Lints {
        /// The crate.
        krate: String,
    },
    /// A version stands outside the workspace's root.
    #[error("{krate} must take {dependency} from the workspace")]
    NotInherited {
        /// The crate.
        krate: String,
        /// What it depends on.
        dependency: String,
    },
    /// A dependency of others is taken with everything that it can do.
    #[error("{dependency} must have default-features = false in the workspace")]
    DefaultFeatures {
        /// The dependency.
        dependency: String,
    },
}

/// Every violation in the workspace, crate by crate; empty if all is well.
pub(super) fn check(workspace: &Workspace) -> Vec<Violation> {
    let of_members = workspace.members.iter().flat_map(check_member);
    let of_root = workspace.with_default_features.iter().cloned();
    of_members
        .chain(of_root.map(|dependency| Violation::DefaultFeatures { dependency }))
        .collect()
}

fn check_member(member: &Member) -> Vec<Violation> {
    let krate = || member.name.clone();
    let mut violations = Vec::new();
    if member.folder != member.name {
        violations.push(Violation::Folder {
            krate: krate(),
            folder: member.folder.clone(),
        });
    }
    if member.version != VERSION || member.publishable {
        violations.push(Violation::Released { krate: krate() });
    }
    if !member.inherits_lints {
        violations.push(Violation::Lints { krate: krate() });
    }
    violations.extend(member.not_inherited.iter().cloned().map(|dependency| {
        Violation::NotInherited {
            krate: krate(),
            dependency,
        }
    }));
    match layer_of(&member.name) {
        Some(layer) => violations.extend(
            member
                .dependencies
                .iter()
                .filter_map(|dependency| judge(&member.name, layer, dependency)),
        ),
        None => violations.push(Violation::Unknown { krate: krate() }),
    }
    violations
}

fn layer_of(krate: &str) -> Option<Layer> {
    LAYERS
        .iter()
        .find(|(_, crates)| crates.contains(&krate))
        .map(|(layer, _)| *layer)
}

/// Judges one dependency of a crate that stands in `layer`.
fn judge(from: &str, layer: Layer, dependency: &Dependency) -> Option<Violation> {
    let to = dependency.name.as_str();
    let edge = || (from.to_owned(), to.to_owned());
    if dependency.internal {
        // A crate in no layer is reported where it is defined.
        let allowed = layer_of(to).is_none_or(|below| may_use(from, layer, to, below, dependency));
        return (!allowed)
            .then(edge)
            .map(|(from, to)| Violation::Direction { from, to });
    }
    (!dependency.for_tests && is_closed(from, layer, to))
        .then(edge)
        .map(|(from, to)| Violation::Closed { from, to })
}

fn may_use(from: &str, layer: Layer, to: &str, below: Layer, dependency: &Dependency) -> bool {
    if below == Layer::Tests {
        return dependency.for_tests || layer == Layer::Chores;
    }
    below < layer || (below == layer && (dependency.for_tests || SIDEWAYS.contains(&(from, to))))
}

fn is_closed(from: &str, layer: Layer, to: &str) -> bool {
    let is_pure = (Layer::Vocabulary..=Layer::Pure).contains(&layer);
    (is_pure && CLOSED_TO_PURE.contains(&to) && !OPEN_TO_PURE.contains(&(from, to)))
        || CLOSED_TO
            .iter()
            .any(|(krate, closed)| *krate == from && closed.contains(&to))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(name: &str) -> Member {
        Member {
            name: name.to_owned(),
            folder: name.to_owned(),
            version: VERSION.to_owned(),
            publishable: false,
            inherits_lints: true,
            not_inherited: Vec::new(),
            dependencies: Vec::new(),
        }
    }

    fn violations(member: Member) -> Vec<Violation> {
        check(&Workspace {
            members: vec![member],
            ..Workspace::default()
        })
    }

    /// What is said of a crate that depends on `to`; crates in the table of layers are internal.
    fn edge(from: &str, to: &str, for_tests: bool) -> Vec<Violation> {
        let dependency = Dependency {
            name: to.to_owned(),
            internal: layer_of(to).is_some(),
            for_tests,
        };
        violations(Member {
            dependencies: vec![dependency],
            ..member(from)
        })
    }

    fn check_allowed(from: &str, to: &str) {
        assert_eq!(edge(from, to, false), [], "{from} → {to}");
    }

    fn check_direction(from: &str, to: &str) {
        let expected = Violation::Direction {
            from: from.to_owned(),
            to: to.to_owned(),
        };
        assert_eq!(edge(from, to, false), [expected], "{from} → {to}");
    }

    fn check_closed(from: &str, to: &str) {
        let expected = Violation::Closed {
            from: from.to_owned(),
            to: to.to_owned(),
        };
        assert_eq!(edge(from, to, false), [expected], "{from} → {to}");
    }

    #[test]
    fn lower_layers_are_open() {
        check_allowed("divergence", "stats");
        check_allowed("guest", "computation");
        check_allowed("control", "hypervisor");
        check_allowed("vardoger", "control");
        check_allowed("xtask", "vardoger");
        check_allowed("guest", "workspace-hack");
        check_allowed("workspace-hack", "rustix");
    }

    #[test]
    fn what_is_there_for_tests_is_open_to_tests_and_chores_only() {
        assert_eq!(edge("disk", "workshop", true), []);
        check_allowed("xtask", "workshop");
        check_direction("disk", "workshop");
        check_direction("vardoger", "workshop");
        check_direction("workshop", "disk");
    }

    #[test]
    fn upper_layers_are_not() {
        check_direction("model", "state");
        check_direction("state", "store");
        check_direction("hypervisor", "control");
        check_direction("control", "vardoger");
        check_direction("vardoger", "xtask");
    }

    #[test]
    fn the_own_layer_is_open_only_where_it_is_listed() {
        check_allowed("schema", "model");
        check_allowed("divergence", "state");
        check_allowed("state", "introspection");
        check_direction("model", "schema");
        check_direction("introspection", "state");
        check_direction("state", "divergence");
        check_direction("divergence", "shadow");
        check_direction("hypervisor", "store");
        check_direction("control", "api");
    }

    #[test]
    fn tests_look_sideways_but_not_up() {
        assert_eq!(edge("stats", "model", true), []);
        assert_eq!(edge("store", "hypervisor", true), []);
        assert_eq!(edge("store", "control", true).len(), 1);
    }

    #[test]
    fn the_pure_layers_do_no_input_or_output() {
        check_closed("model", "tokio");
        check_closed("computation", "libc");
        check_closed("state", "rustix");
        check_closed("divergence", "object_store");
        check_closed("state", "rusqlite");
        check_allowed("computation", "rusqlite");
        check_allowed("state", "blake3");
        check_allowed("store", "rustix");
        assert_eq!(edge("state", "tempfile", true), []);
    }

    #[test]
    fn control_knows_no_adapter_of_others() {
        check_closed("control", "axum");
        check_closed("control", "rusqlite");
        check_closed("control", "qapi");
        check_allowed("control", "tokio");
        check_allowed("store", "rusqlite");
    }

    #[test]
    fn a_crate_in_no_layer_is_named_once() {
        let expected = Violation::Unknown {
            krate: "stranger".to_owned(),
        };
        assert_eq!(violations(member("stranger")), [expected]);
        let to_stranger = Dependency {
            name: "stranger".to_owned(),
            internal: true,
            for_tests: false,
        };
        let control = Member {
            dependencies: vec![to_stranger],
            ..member("control")
        };
        assert_eq!(violations(control), []);
    }

    #[test]
    fn a_manifest_keeps_to_the_house() {
        let faults = [
            Member {
                folder: "other".to_owned(),
                ..member("model")
            },
            Member {
                version: "1.0.0".to_owned(),
                ..member("model")
            },
            Member {
                publishable: true,
                ..member("model")
            },
            Member {
                inherits_lints: false,
                ..member("model")
            },
            Member {
                not_inherited: vec!["serde".to_owned()],
                ..member("model")
            },
        ];
        for fault in faults {
            assert_eq!(violations(fault.clone()).len(), 1, "{fault:?}");
        }
        assert_eq!(violations(member("model")), []);
    }

    #[test]
    fn default_features_are_refused() {
        let workspace = Workspace {
            with_default_features: vec!["serde".to_owned()],
            ..Workspace::default()
        };
        let expected = Violation::DefaultFeatures {
            dependency: "serde".to_owned(),
        };
        assert_eq!(check(&workspace), [expected]);
    }

    #[test]
    fn every_crate_stands_in_one_layer() {
        let mut names: Vec<_> = LAYERS
            .iter()
            .flat_map(|(_, crates)| crates.iter())
            .collect();
        names.sort_unstable();
        let count = names.len();
        names.dedup();
        assert_eq!(names.len(), count);
        for (from, to) in SIDEWAYS {
            assert_eq!(layer_of(from), layer_of(to), "{from} → {to}");
        }
    }
}
