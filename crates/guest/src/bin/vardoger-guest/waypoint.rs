//! Waypoints: two places that the program passes only to be stopped there by a breakpoint.
//!
//! They have a page of their own, since a breakpoint slows down all code of its page. There are
//! two, used in turn: at the one where it stands, the host cannot set a breakpoint for the next
//! stop without stopping there again.
#![expect(
    unsafe_code,
    reason = "the places must be known instructions at known addresses, which only assembly has"
)]

use model::GuestVirtualAddress;
use std::arch::global_asm;

global_asm!(
    ".pushsection .text.vardoger_waypoints, \"ax\", @progbits",
    ".p2align 12",
    "vardoger_waypoint_first:",
    "nop",
    "ret",
    "vardoger_waypoint_second:",
    "nop",
    "ret",
    ".p2align 12",
    ".popsection",
);

// SAFETY: both are defined above, take nothing, give nothing, and return at once.
unsafe extern "C" {
    safe fn vardoger_waypoint_first();
    safe fn vardoger_waypoint_second();
}

/// Where they are.
pub(crate) fn addresses() -> [GuestVirtualAddress; 2] {
    [vardoger_waypoint_first, vardoger_waypoint_second]
        .map(|waypoint| GuestVirtualAddress(waypoint as *const () as u64))
}

/// Passes the waypoint of a stop, counted from 0.
pub(crate) fn pass(stop: usize) {
    if stop.is_multiple_of(2) {
        vardoger_waypoint_first();
    } else {
        vardoger_waypoint_second();
    }
}
