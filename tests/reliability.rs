//! `docs/reliability.md` is made here: what goes wrong, what the tool does, and the tests that show it.
//!
//! A row whose test is gone fails, and so does a page that is not what is made. `UPDATE_DOCS=1` writes it.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

/// What goes wrong, what the tool does, and the tests that show it, as `file::name` below `tests/`.
type Row = (&'static str, &'static str, &'static [&'static str]);

const HEAD: &str = "# What goes wrong, and what the tool does

Made by `tests/reliability.rs`; a row whose test is gone fails there. Tests of `rollout/` and `soak/` run on the embedded cluster in virtual time, those of `program/` are the program as a process, and those of `cluster/` run on a real API server, istiod, Envoy and Prometheus (`scripts/test --cluster`).
";

const SECTIONS: &[(&str, &[Row])] = &[
    (
        "Terminals, pipes and files",
        &[
            (
                "nobody reads stderr: a full pipe, a stalled log collector",
                "analyzes, rolls back and obeys signals; what is repeated is dropped, final lines are not",
                &[
                    "program/blocked_output.rs::a_broken_canary_is_rolled_back_while_nobody_reads_stderr",
                    "program/blocked_output.rs::signals_are_obeyed_while_nobody_reads_stderr",
                    "program/blocked_output.rs::a_reader_that_comes_back_gets_the_final_lines",
                    "cluster/output.rs::a_canary_that_breaks_is_rolled_back_while_nobody_reads_stderr",
                ],
            ),
            (
                "Ctrl-S at the live view",
                "the picture stands still, and nothing else",
                &[
                    "program/blocked_output.rs::ctrl_s_at_the_live_view_stops_the_picture_and_nothing_else",
                    "program/blocked_output.rs::sigterm_is_obeyed_while_ctrl_s_holds_the_terminal",
                ],
            ),
            (
                "the events file takes nothing",
                "the rollout goes on; how many events are missing is said",
                &[
                    "program/blocked_output.rs::a_file_for_events_that_takes_none_costs_events_and_their_number_is_said",
                ],
            ),
            (
                "the disk with the events, the record and the summary fills up, or stands still",
                "what was to be written there is missing, and said; traffic and exit code are as they would be",
                &[
                    "cluster/full_disk.rs::a_disk_that_fills_up_costs_what_is_written_there_and_nothing_else",
                    "program/blocked_output.rs::a_summary_that_cannot_be_written_costs_the_summary_and_the_exit_code_stays",
                ],
            ),
            (
                "stdout is closed, or on a full disk",
                "the exit code is that of what was done",
                &[
                    "program/unprinted_result.rs::what_was_done_keeps_its_exit_code",
                    "program/unprinted_result.rs::a_failed_rollback_is_20_whoever_reads",
                    "program/unprinted_result.rs::an_answer_into_a_closed_pipe_is_quiet_and_into_a_full_disk_an_error",
                ],
            ),
            (
                "Ctrl-C, SIGTERM, a closed terminal",
                "rolls back and exits 11, or exits 130, 143, 129 before anything moved",
                &[
                    "rollout/signals.rs::a_signal_at_any_moment_restores_the_spec_within_seven_seconds",
                    "program/signals.rs::a_closed_terminal_rolls_back_and_nohup_does_not_mind_it",
                    "program/signals.rs::what_only_reads_ends_with_a_signal_at_once",
                    "cluster/signals.rs::sigterm_restores_the_original_spec",
                    "cluster/signals.rs::ctrl_c_restores_the_original_spec",
                ],
            ),
        ],
    ),
    (
        "The API server",
        &[
            (
                "the answer to a PATCH is lost",
                "the object is read before anything else happens",
                &[
                    "rollout/faults.rs::every_step_takes_effect_exactly_once_whatever_becomes_of_its_patch",
                    "rollout/faults.rs::a_rollback_takes_effect_whatever_becomes_of_its_patch",
                    "rollout/faults.rs::an_abort_takes_effect_whatever_becomes_of_its_patch",
                ],
            ),
            (
                "that answer is lost, and other clients change the object before it is known",
                "a step is set once, no later run is promoted, and a promotion is not called held",
                &[
                    "rollout/faults.rs::a_promotion_by_one_step_that_is_not_heard_of_and_edited_is_not_made_twice",
                    "rollout/faults.rs::a_promotion_that_is_not_heard_of_does_not_promote_the_next_run",
                    "rollout/faults.rs::a_promotion_that_is_not_heard_of_and_edited_away_is_not_called_untouched",
                    "rollout/signals.rs::a_promotion_whose_answer_was_not_heard_before_a_signal_is_not_called_held",
                ],
            ),
            (
                "a person promotes all objects of a group while its driver cannot write its rollback",
                "the promotion stands on every object",
                &[
                    "rollout/companions/races.rs::a_promotion_that_comes_before_the_first_write_of_a_rollback_stands_on_every_object",
                    "rollout/companions/races.rs::a_promotion_stands_also_where_a_rollback_has_come_to_the_lead_without_a_write",
                ],
            ),
            (
                "the first PATCH arrives after the process has given up",
                "it is kept out by a record on the object; where that cannot be written, exit 20 instead of \"untouched\"",
                &[
                    "rollout/signals.rs::what_a_proxy_completes_after_a_signal_does_not_move_traffic_any_more",
                    "rollout/signals.rs::a_first_step_of_which_nothing_can_be_known_is_not_called_untouched",
                    "rollout/takeover.rs::a_first_step_that_arrives_after_another_run_began_and_ended_is_kept_out",
                ],
            ),
            (
                "it is away at a change of weights",
                "a step lasts its dwell from when its weight is in force; the canary is watched meanwhile",
                &[
                    "rollout/faults.rs::a_step_lasts_its_dwell_from_when_its_weight_is_in_force",
                    "rollout/faults.rs::a_canary_is_watched_while_its_next_step_cannot_be_written",
                    "rollout/faults.rs::an_outage_of_the_whole_api_server_moves_nothing_and_is_survived",
                ],
            ),
            (
                "it stands still for 20 s, or etcd for 3 min: at the first write, while a step lasts, at a step change, at a gate, and during a rollback; with a healthy and with a broken canary",
                "nothing moves meanwhile; afterwards a healthy canary goes on, a broken one is rolled back, and what could not begin says whether it moved anything",
                &[
                    "cluster/control_plane.rs::every_phase_survives_an_api_server_that_stands_still_for_20_seconds",
                    "cluster/control_plane.rs::every_phase_survives_an_etcd_that_stands_still_for_3_minutes",
                ],
            ),
            (
                "a webhook refuses or is away",
                "a step is rolled back, a rollback is tried until it works or its time is over",
                &[
                    "rollout/faults.rs::a_step_that_the_server_refuses_for_good_is_rolled_back",
                    "rollout/faults.rs::a_rollback_goes_on_until_istiods_webhook_is_back",
                    "rollout/faults.rs::a_rollback_that_runs_out_of_time_says_that_it_failed",
                    "cluster/outage.rs::a_rollback_that_the_webhook_refuses_is_tried_until_it_works",
                    "cluster/webhook.rs::a_step_that_a_webhook_refuses_is_rolled_back",
                    "cluster/webhook.rs::a_rollback_that_a_webhook_refuses_ends_with_what_is_true_of_the_object",
                ],
            ),
            (
                "a webhook is slow",
                "it costs its time; one that is slower than the API server waits for it is tried again",
                &[
                    "cluster/webhook.rs::a_slow_webhook_costs_time_and_one_that_is_too_slow_is_waited_for",
                ],
            ),
            (
                "the credentials are revoked in mid-run",
                "the plugin runs again, the token file is read again; a plugin that hangs keeps neither signals nor a rollback",
                &[
                    "program/credentials.rs::a_plugin_is_asked_again_when_its_token_is_revoked",
                    "program/credentials.rs::a_token_file_is_read_again_when_its_token_is_revoked",
                    "program/credentials.rs::a_plugin_that_hangs_keeps_neither_signals_nor_the_rollback",
                    "cluster/credentials.rs::a_rollout_goes_on_with_another_token",
                    "cluster/credentials.rs::a_rollback_waits_for_another_token",
                ],
            ),
            (
                "a watch breaks, expires or falls silent",
                "what others do is seen within seconds all the same",
                &[
                    "rollout/faults.rs::watches_that_break_or_expire_miss_no_foreign_edit",
                    "rollout/silence.rs::an_abort_elsewhere_is_seen_although_the_watch_is_silent_and_a_read_hangs",
                    "rollout/silence.rs::a_promote_elsewhere_is_seen_although_the_watch_is_silent",
                    "rollout/silence.rs::silence_costs_one_read_every_few_seconds_and_no_other_watch",
                    "cluster/silence.rs::what_others_do_at_a_gate_is_seen_within_seconds_of_a_lost_watch",
                    "cluster/silence.rs::what_others_do_at_a_gate_is_seen_within_seconds_although_every_watch_is_swallowed",
                ],
            ),
            (
                "`abort` cannot read the object at once",
                "it tries for `--timeout`, aloud, and exits 20 where it does not find out",
                &[
                    "rollout/abort.rs::a_first_read_that_fails_is_tried_again_aloud",
                    "rollout/abort.rs::where_it_cannot_find_out_it_does_not_call_traffic_untouched",
                ],
            ),
            (
                "reads are slow or forbidden before anything moves",
                "`plan` is there within ten seconds and says what it could not see; `start` waits, and does not begin without what it needs",
                &[
                    "rollout/visibility.rs::a_slow_api_server_is_seen_as_a_fast_one",
                    "rollout/visibility.rs::of_a_large_slow_cluster_the_namespaces_that_matter_are_seen",
                    "rollout/visibility.rs::whichever_half_of_the_reads_is_forbidden_each_is_said_and_the_rest_is_found",
                    "rollout/visibility.rs::a_start_does_not_begin_without_what_it_needs",
                ],
            ),
        ],
    ),
    (
        "Others at the same object",
        &[
            (
                "somebody edits weights or routes",
                "`--on-drift` decides; nothing is overwritten without it",
                &[
                    "rollout/drift.rs::foreign_weights_stop_the_rollout_and_stay_as_they_are",
                    "rollout/drift.rs::an_edit_between_the_preflight_and_the_first_step_is_not_overwritten",
                    "rollout/companions/refusals.rs::a_companion_that_is_edited_before_its_turn_keeps_that_and_the_others_go_back",
                    "cluster/drift.rs::a_foreign_edit_is_not_overwritten_and_its_manager_is_named",
                ],
            ),
            (
                "a chosen route is removed or renamed",
                "`abort` ends the rollout; what may be the route under another name is shown and never guessed",
                &[
                    "rollout/abort.rs::a_chosen_route_that_was_removed_has_nothing_left_to_restore",
                    "rollout/abort.rs::a_chosen_route_that_was_renamed_has_a_way_out_that_is_printed",
                    "rollout/abort.rs::what_may_be_the_chosen_route_is_never_taken_for_it",
                ],
            ),
            (
                "the state on the object is damaged",
                "`abort` exits 20, with the weights that are still legible and the command that sets them",
                &[
                    "rollout/abort.rs::a_damaged_state_names_the_original_weights_that_can_be_read_and_how_to_set_them",
                ],
            ),
            (
                "the driver dies, at whatever moment",
                "the object is whole; `abort` restores it and `resume` goes on",
                &[
                    "rollout/takeover.rs::the_object_is_whole_at_whatever_moment_the_driver_dies_and_abort_restores_it",
                    "rollout/takeover.rs::a_resumed_rollout_goes_on_to_the_end_from_whatever_moment",
                    "rollout/companions/deaths.rs::whenever_the_driver_dies_abort_on_any_object_restores_all",
                    "cluster/takeover.rs::abort_restores_the_exact_weights_of_a_driver_that_was_killed",
                    "cluster/takeover.rs::resume_drives_on_to_the_end_after_the_driver_was_killed",
                ],
            ),
            (
                "a command is killed before or after any of its calls to the API server",
                "`abort`, or after a promotion `undo`, restores the exact bytes of every object, and a write that arrives later changes nothing",
                &[
                    "cluster/kills.rs::whichever_call_promote_or_abort_dies_at_abort_restores_the_exact_bytes",
                    "cluster/kills.rs::whichever_call_undo_dies_at_undo_restores_the_exact_bytes",
                    "cluster/kills.rs::whichever_write_two_objects_die_at_abort_restores_the_exact_bytes_of_both",
                    "cluster/kills.rs::whichever_write_a_driver_dies_at_with_a_broken_canary_abort_restores_the_exact_bytes",
                ],
            ),
            (
                "the driver dies between two objects while `--after-regression zero` takes everything from the canary, or `abort` comes at the same time",
                "every object gets what the end on the lead says: after `abort` the original weights",
                &[
                    "rollout/after_regression.rs::an_abort_after_a_driver_died_between_two_objects_restores_the_originals_of_both",
                    "rollout/after_regression.rs::an_abort_leaves_what_others_have_made_of_a_companion_at_its_end",
                    "rollout/after_regression.rs::of_an_abort_and_a_regression_at_the_same_time_one_is_that_of_every_object",
                ],
            ),
            (
                "two drivers start at the same time",
                "one drives, the other exits 5",
                &["cluster/kills.rs::of_two_starts_at_once_one_drives_every_time"],
            ),
            (
                "a driver stands still while another takes over, or only its lease",
                "who drives is what the object says: it leaves, or goes on",
                &[
                    "rollout/takeover.rs::a_stalled_driver_that_wakes_up_after_a_takeover_leaves",
                    "rollout/takeover.rs::a_stalled_driver_that_wakes_up_to_roll_back_cannot_write",
                    "rollout/takeover.rs::a_driver_whose_lease_was_taken_and_given_back_drives_on",
                    "cluster/kills.rs::a_driver_that_is_stopped_and_goes_on_after_a_takeover_writes_nothing",
                ],
            ),
        ],
    ),
    (
        "Pipelines",
        &[
            (
                "the same command runs twice",
                "the way back is refused; a canary that was named and has everything is success",
                &[
                    "rollout/again.rs::without_names_the_way_back_is_refused_and_with_the_canary_it_is_done_already",
                    "rollout/again.rs::what_was_promoted_by_hand_goes_back_only_if_that_is_said",
                ],
            ),
            (
                "a clean-up meets somebody else's rollout",
                "`abort --run` touches no other run",
                &[
                    "rollout/abort.rs::abort_of_a_run_touches_no_other",
                    "rollout/abort.rs::a_run_that_replaces_the_one_to_abort_at_the_last_moment_is_left_alone",
                ],
            ),
            (
                "a promotion was wrong",
                "`undo` restores the weights before it, as safely as `abort`",
                &[
                    "rollout/undo.rs::a_promotion_is_undone_from_another_machine_to_the_last_byte",
                    "rollout/undo.rs::what_changes_between_the_look_and_the_write_is_not_written_over",
                ],
            ),
            (
                "a rollout lost its driver",
                "`list` shows it, `list --orphaned` finds it by exit code",
                &["program/refusals.rs::a_step_that_nobody_drives_is_found_by_a_script"],
            ),
        ],
    ),
    (
        "What others say",
        &[
            (
                "a plugin, a kubeconfig, a server repeats a secret",
                "it is not printed, recorded or put on the object",
                &[
                    "program/secrets.rs::no_planted_secret_comes_out",
                    "program/secrets.rs::a_prometheus_that_repeats_what_it_is_sent_tells_nothing",
                    "program/secrets.rs::what_stands_on_the_object_is_not_shown",
                ],
            ),
            (
                "any document is arbitrary bytes",
                "no panic, no control characters",
                &[
                    "properties/fuzz/mod.rs::no_answer_breaks_the_program",
                    "properties/fuzz/mod.rs::no_kubeconfig_breaks_the_program",
                    "properties/fuzz/mod.rs::no_plan_file_breaks_the_program",
                    "properties/fuzz/mod.rs::no_record_on_an_object_breaks_its_reader",
                    "properties/fuzz/mod.rs::no_object_breaks_what_reads_its_routes",
                ],
            ),
            (
                "Prometheus is away, wrong, half there, or two replicas",
                "nothing is promoted by it, and evidence is never invented",
                &[
                    "rollout/metrics.rs::whatever_is_wrong_with_prometheus_promotes_nothing_and_ends_after_the_grace",
                    "cluster/metrics.rs::half_an_answer_is_no_good_news",
                    "cluster/metrics.rs::a_prometheus_that_stays_away_takes_the_traffic_back",
                ],
            ),
        ],
    ),
    (
        "All of it at once",
        &[(
            "faults, deaths, stalls, takeovers, foreign edits, promotes, aborts, undos, clocks, replicas, silent watches, in any order, with mirrored requests, rules for testers, added destinations, fine weights and companions",
            "totals are kept, only weights and what the plan adds change, no share above what was approved, one driver, original, promoted or undone weights in the end, exit codes that are true of the object",
            &[
                "soak/main.rs::whatever_happens_the_promises_hold",
                "soak/main.rs::a_seed_tells_the_same_story_every_time",
            ],
        )],
    ),
];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Whether the file has a test of this name.
fn exists(test: &str) -> bool {
    let (file, name) = test.split_once("::").expect("a test is file::name");
    let text = fs::read_to_string(root().join("tests").join(file)).unwrap_or_default();
    let Some((before, _)) = text.split_once(&format!("fn {name}(")) else {
        return false;
    };
    let attributes = before.rsplit("\n\n").next().unwrap_or_default();
    attributes.contains("#[test]") || attributes.contains("#[tokio::test")
}

/// The number of seeds that every run plays, as the soak test has it.
fn seeds() -> String {
    let text = fs::read_to_string(root().join("tests/soak/main.rs")).expect("there is a soak test");
    let line = text.lines().find(|line| line.starts_with("const SEEDS"));
    let number = line.and_then(|line| line.rsplit("= ").next());
    number
        .expect("it has a number")
        .trim_end_matches(';')
        .to_owned()
}

fn page() -> String {
    let mut page = HEAD.to_owned();
    for (title, rows) in SECTIONS {
        let _ = write!(
            page,
            "\n## {title}\n\n| fault | what happens | shown by |\n|--|--|--|\n"
        );
        for (fault, response, tests) in *rows {
            let tests: Vec<_> = tests
                .iter()
                .map(|test| format!("`{}`", test.replace(".rs::", "::")))
                .collect();
            let _ = writeln!(page, "| {fault} | {response} | {} |", tests.join("<br>"));
        }
    }
    let _ = write!(
        page,
        "\nEvery run of the tests plays {} seeds of the last row; `scripts/soak N` plays any number and prints a seed that breaks a promise, and `scripts/soak --seed S` plays that one again with its log.\n",
        seeds()
    );
    page
}

#[test]
fn every_test_that_is_named_exists() {
    let rows = SECTIONS.iter().flat_map(|(_, rows)| rows.iter());
    let tests = rows.flat_map(|(_, _, tests)| tests.iter());
    let gone: Vec<_> = tests.filter(|test| !exists(test)).collect();
    assert!(gone.is_empty(), "{gone:#?}");
}

#[test]
fn the_page_is_what_is_made() {
    let path = root().join("docs/reliability.md");
    if std::env::var_os("UPDATE_DOCS").is_some() {
        fs::write(&path, page()).unwrap();
    }
    let stands = fs::read_to_string(&path).unwrap_or_default();
    assert!(
        stands == page(),
        "UPDATE_DOCS=1 cargo test --test reliability"
    );
}
