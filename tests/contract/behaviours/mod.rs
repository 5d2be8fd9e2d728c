//! The behaviours, by topic. A new one is listed in [`each`], or no server is held to it.

pub mod leases;
pub mod objects;
pub mod patching;
pub mod subject;
pub mod validation;
pub mod watching;

/// Hands `topic behaviour` of every behaviour to a macro, which makes a test of it.
macro_rules! each {
    ($test:ident) => {
        $test!(patching a_guarded_patch_moves_weights_and_annotations_in_one_write);
        $test!(patching a_failed_test_is_refused_without_saying_which);
        $test!(patching a_test_for_null_holds_where_the_member_is_missing);
        $test!(patching a_test_for_null_fails_where_the_parent_is_missing);
        $test!(patching an_annotation_cannot_be_added_where_there_are_none);
        $test!(patching replacing_a_missing_weight_sets_it);
        $test!(patching an_annotation_alone_leaves_the_generation);
        $test!(patching a_patch_that_changes_nothing_writes_nothing);
        $test!(patching a_dry_run_answers_and_writes_nothing);
        $test!(patching a_merge_patch_with_a_stale_version_conflicts);
        $test!(patching every_served_version_is_the_same_object);
        $test!(patching a_patch_of_a_missing_object_is_not_found);
        $test!(patching an_object_keeps_its_identity);
        $test!(validation a_weight_of_the_wrong_type_breaks_the_schema);
        $test!(validation a_negative_weight_is_denied_by_the_mesh);
        $test!(validation a_total_of_nothing_is_denied_by_the_mesh);
        $test!(validation an_annotation_must_be_a_string);
        $test!(validation a_large_total_is_accepted);
        $test!(validation a_dry_run_is_validated_too);
        $test!(objects a_missing_object_is_named);
        $test!(objects an_unknown_group_is_not_found);
        $test!(objects a_field_that_cannot_select_is_refused);
        $test!(objects a_name_that_is_taken_is_refused);
        $test!(objects a_stale_update_conflicts);
        $test!(objects an_update_without_a_version_is_refused);
        $test!(objects selectors_choose);
        $test!(objects a_deleted_object_is_gone);
        $test!(objects a_review_tells_what_is_allowed);
        $test!(watching a_watch_tells_every_change_in_order);
        $test!(watching a_watch_from_nowhere_begins_with_what_there_is);
        $test!(watching a_watch_from_a_forgotten_version_is_told_so);
        $test!(leases a_lease_is_created_only_once);
        $test!(leases a_stale_renewal_conflicts);
        $test!(leases a_released_lease_can_be_taken);
        $test!(leases a_lease_without_a_duration_is_refused);
    };
}

pub(crate) use each;
