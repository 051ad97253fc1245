//! What every hypervisor must do: each promise of the traits `Hypervisor` and `Domain` is one case,
//! shown on every adapter, where the guest or a second look confirms the effect.
//!
//! ```text
//!  table ── case ──► qemu::CASE   always: a case is written against QEMU first
//!               └──► sim::CASE    or the reason why `sim` cannot
//! ```
//!
//! A case that is missing from the table does not compile, since nobody calls it, and neither does one
//! that is in it twice; `table::tests` holds both, and that no method of the traits is left out.

#![deny(dead_code, reason = "a case that no adapter runs is a case forgotten")]

#[path = "../support/mod.rs"]
mod support;

mod cases;
mod provider;
#[macro_use]
mod table;

conformance! {
    boot::its_version_is_a_name_and_a_number: both;
    boot::it_says_what_it_can_do_with_a_machine: both;
    boot::a_machine_runs_from_its_start: both;
    boot::a_machine_without_its_kernel_is_refused_by_name: both;
    boot::a_kernel_that_is_none_ends_the_emulator: [qemu: "it executes no kernel"];
    boot::more_memory_than_there_is_room_for_is_refused: both;
    boot::a_cpu_that_the_host_has_not_is_refused: [qemu: "its machines run on no CPU of the host"];
    boot::the_other_signal_and_the_other_channel_work_as_well:
        [qemu: "it has no devices, only what they carry"];
    restore::a_restored_machine_is_the_one_that_was_saved: both;
    restore::a_restored_machine_stands_until_it_is_let_run: both;
    restore::a_snapshot_is_never_written_to: both;
    restore::a_snapshot_that_does_not_fit_is_refused: both;
    saved::a_machine_is_gone_back_to_in_the_middle_of_its_work: both;
    saved::a_snapshot_goes_into_an_empty_directory_alone: both;
    saved::an_export_is_the_whole_machine_and_it_goes_on: both;
    stop::a_guest_that_goes_on_is_paused_at_its_limit: both;
    stop::a_wait_ends_at_its_wall_time: both;
    stop::a_hung_guest_stays_where_it_is: both;
    stop::an_emulator_that_stands_still_is_ended_at_the_limit:
        [qemu: "it has no process but the test's own"];
    stop::a_power_off_is_told_leaves_a_state_and_is_the_end: both;
    stop::what_the_guest_says_is_given_once: both;
    stop::what_a_guest_uses_is_counted: both;
    breakpoint::a_breakpoint_stops_the_guest_and_changes_nothing: both;
    breakpoint::a_breakpoint_that_was_taken_away_is_passed: both;
    breakpoint::a_breakpoint_that_is_not_there_cannot_be_taken_away: both;
    breakpoint::equal_machines_stay_equal_over_a_breakpoint: both;
    memory::memory_is_read_as_it_was_written: both;
    memory::beyond_its_bounds_memory_is_neither_read_nor_written: both;
    memory::a_patch_is_read_back: both;
    memory::a_patch_takes_effect_on_code_that_has_run: [qemu: "its guest has no code"];
    page::a_page_that_was_written_is_listed_with_its_content: both;
    page::no_page_that_differs_from_the_snapshot_is_missing: both;
    page::every_way_of_listing_pages_gives_the_same: both;
    register::registers_have_lower_case_names_and_hexadecimal_values: both;
    register::a_flipped_register_holds_the_flipped_bit: both;
    register::a_register_that_there_is_not_is_refused_with_those_there_are: both;
    register::every_register_that_is_listed_takes_its_bits_and_no_more: both;
    recorded::a_follower_does_what_was_recorded: [qemu: "it has no disks, so nothing to record"];
    ending::a_destroyed_machine_leaves_nothing: both;
    ending::a_running_machine_that_is_dropped_leaves_nothing: both;
    ending::its_process_is_a_child_of_ours: [qemu: "it has no process but the test's own"];
    lost::every_call_to_a_machine_that_was_killed_is_an_error: both;
    lost::a_machine_that_is_killed_while_it_runs_ends_the_wait: both;
}
