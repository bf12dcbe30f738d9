//! What every [`Store`] must do, as tests.
//!
//! A store's crate calls [`store_suite!`] in an integration test: each case
//! becomes a test of its own.
//!
//! [`Store`]: nonna_store::Store
//! [`store_suite!`]: crate::store_suite
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    missing_docs,
    reason = "these are tests, named for what they show"
)]

pub mod access;
pub mod deployments;
pub mod forge;
pub mod journal;
pub mod places;
pub mod records;
mod setting;
pub mod variables;

pub use setting::{Setting, Want, name};

/// The cases for every store, each as a test. Takes an expression that gives
/// an empty store as an `Arc<dyn Store>`, with whatever must outlive it.
#[macro_export]
macro_rules! store_suite {
    ($fixture:expr) => {
        $crate::store_suite!(@tests $fixture;
            places::the_installation_is_made_once
            places::things_are_made_once_by_name
            places::nothing_is_made_in_what_is_not_there
            places::a_new_environment_has_a_snapshot
            places::snapshots_show_every_environment
            deployments::a_plan_makes_what_it_names
            deployments::releases_are_reserved_as_pending
            deployments::a_taken_number_is_refused_and_nothing_is_left
            deployments::a_plan_of_another_state_is_refused
            deployments::a_name_with_another_id_is_refused
            deployments::a_repeated_request_makes_one_deployment
            deployments::a_waiting_deployment_gets_another_plan
            deployments::only_a_waiting_deployment_gets_another_plan
            deployments::a_plan_that_is_out_of_date_does_not_start
            deployments::a_cancel_is_noted_until_the_end
            deployments::unfinished_ones_come_oldest_first
            deployments::they_are_listed_in_pages
            deployments::two_at_once_do_not_get_one_number
            journal::lines_are_kept_in_order
            journal::what_is_not_there_has_no_journal
            journal::images_are_kept_and_reach_the_release
            journal::where_an_image_came_from_is_kept
            journal::a_commit_makes_targets_current_and_does_so_once
            journal::a_commit_of_what_was_never_reserved_is_refused
            journal::scaling_and_pausing_are_committed
            journal::a_failed_deployment_changes_nothing_current
            journal::a_failure_behind_the_commit_keeps_the_release
            journal::the_first_reason_to_turn_back_stays
            journal::the_first_end_stays
            journal::a_removed_service_is_forgotten_at_the_end_only
            journal::a_removed_environment_is_forgotten_with_all_it_owned
            journal::an_environment_in_use_again_is_not_forgotten
            journal::releases_are_listed_in_pages
            variables::the_nearest_wins
            variables::setting_the_same_changes_nothing
            variables::secrets_and_variables_replace_each_other
            variables::each_value_of_a_secret_is_a_version
            variables::old_versions_stay_while_a_release_refers_to_them
            variables::a_version_opens_only_for_who_sees_its_owner
            variables::a_secret_of_any_scope_opens
            variables::impossible_names_and_values_are_all_reported
            variables::changes_are_all_or_nothing
            variables::what_is_not_there_owns_nothing
            variables::secrets_are_not_printed
            access::a_token_is_valid_until_it_expires_or_is_revoked
            access::the_last_use_is_noted_to_the_minute
            access::a_hash_is_kept_once
            access::a_code_is_redeemed_once
            access::a_code_expires
            access::of_many_who_redeem_a_code_one_gets_in
            forge::a_connection_is_kept_and_its_secrets_apart
            forge::a_repository_is_connected_to_a_project_once
            forge::changes_of_a_connection_are_made_together
            forge::what_was_deployed_stays_known_while_the_same_follows
            forge::a_removed_connection_leaves_nothing
            forge::a_delivery_is_accepted_once
            forge::the_same_body_is_a_replay_where_it_should_be
            forge::an_older_push_is_over_at_once
            forge::a_later_delivery_overtakes_those_that_wait
            forge::deliveries_are_taken_in_order_and_resumed
            forge::only_so_many_deliveries_are_remembered
            records::events_are_numbered_and_read_on
            records::events_of_nothing_are_refused
            records::pruning_spares_what_is_under_way
            records::pruning_forgets_images_that_nobody_needs
            records::blobs_are_replaced_listed_and_removed
            records::the_audit_log_is_listed_in_pages
            records::build_results_go_with_their_service
            records::strange_text_comes_back_as_it_went
            records::many_writers_at_once_lose_nothing
        );
    };
    (@tests $fixture:expr; $($module:ident :: $case:ident)+) => {
        $(
            #[tokio::test]
            async fn $case() {
                let (store, _guard) = $fixture;
                let setting = $crate::store::suite::Setting::new(store).await;
                $crate::store::suite::$module::$case(&setting).await;
            }
        )+
    };
}
