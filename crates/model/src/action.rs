//! The action: the one type of what the product may do. It has a precondition, a receipt and an
//! undo, and a policy decides. No engine acts by itself.

use crate::clock::Timestamp;
use crate::fleet::NodeRef;
use crate::id::{ActionId, FindingId};
use serde::{Deserialize, Serialize};

/// Who decides whether an action is carried out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Policy {
    /// Nothing is proposed.
    Observe,
    /// It is proposed, and a person approves.
    Suggest,
    /// It is carried out, within rate limits.
    Act,
}

/// How far an action has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ActionState {
    /// Proposed.
    Proposed,
    /// Carried out; the receipt says how.
    Done,
    /// Taken back.
    Undone,
    /// Its precondition did not hold, or it failed.
    Refused,
}

/// What the product did or would do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Action {
    /// Its id.
    pub id: ActionId,
    /// When it was proposed.
    pub at: Timestamp,
    /// What it acts on.
    pub node: NodeRef,
    /// What it does, in one sentence.
    pub summary: String,
    /// What must hold before it is carried out.
    pub precondition: String,
    /// What it did, once done.
    pub receipt: Option<String>,
    /// How it is taken back; nothing where it cannot be.
    pub undo: Option<String>,
    /// The findings that it answers.
    pub because: Vec<FindingId>,
    /// How far it has come.
    pub state: ActionState,
}
