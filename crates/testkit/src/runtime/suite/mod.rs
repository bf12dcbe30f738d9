//! What every [`Runtime`] must do, as tests.
//!
//! A runtime's crate makes a [`Fixture`] and calls [`runtime_suite!`] (and, if
//! its replicas are real processes, [`runtime_suite_real!`]) in an integration
//! test: each case becomes a test of its own.
//!
//! [`runtime_suite!`]: crate::runtime_suite
//! [`runtime_suite_real!`]: crate::runtime_suite_real
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    missing_docs,
    reason = "these are tests, named for what they show"
)]

pub mod diagnosis;
pub mod isolation;
pub mod jobs;
pub mod lifecycle;
pub mod limits;
pub mod logs;
pub mod sessions;
mod setting;

use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use futures_util::FutureExt;
use nonna_engine::ports::Runtime;

pub use setting::{Setting, get};

/// A runtime to be tested.
#[derive(Clone)]
pub struct Fixture {
    /// The runtime, of an installation of which nothing else exists.
    pub runtime: Arc<dyn Runtime>,
    /// The test app (`nonna-test/app:latest`), as the runtime knows it; it is
    /// there already.
    pub image: String,
}

/// Runs one case and removes whatever it left, also when it fails. Without a
/// fixture, because somebody asked for that, it says so and shows nothing.
pub async fn check(fixture: impl Into<Option<Fixture>>, case: impl AsyncFnOnce(&Setting)) {
    let Some(fixture) = fixture.into() else {
        eprintln!("skipped, as was asked for");
        return;
    };
    let setting = Setting::new(fixture);
    let result = AssertUnwindSafe(case(&setting)).catch_unwind().await;
    let cleaned = setting.clean().await;
    if let Err(panic) = result {
        std::panic::resume_unwind(panic);
    }
    cleaned.expect("the case's leavings are removed");
}

/// The cases for every runtime, each as a test. Takes an expression that gives
/// a future of a [`Fixture`](crate::runtime::suite::Fixture).
#[macro_export]
macro_rules! runtime_suite {
    ($fixture:expr) => {
        $crate::runtime_suite!(@tests $fixture;
            lifecycle::replicas_start_become_healthy_and_are_retired
            lifecycle::starting_what_runs_changes_nothing
            lifecycle::another_configuration_replaces_a_replica_of_the_same_number
            lifecycle::two_releases_run_side_by_side
            lifecycle::fewer_replicas_are_kept_and_the_rest_retired
            lifecycle::stopped_replicas_stay_and_start_again
            lifecycle::networks_and_volumes_are_made_and_removed_any_number_of_times
            lifecycle::what_is_missing_is_removed_without_a_word
            lifecycle::a_start_can_be_cancelled
            lifecycle::a_replica_that_dies_is_restarted_and_watchers_are_told
            lifecycle::everything_is_observed_of_every_environment
            lifecycle::images_are_found_or_not
            lifecycle::figures_are_of_the_replicas_that_run
            lifecycle::it_tells_what_it_is
            lifecycle::events_tell_of_each_replica
            diagnosis::an_app_that_exits
            diagnosis::an_app_that_exits_and_is_not_to_be_restarted
            diagnosis::an_app_that_uses_too_much_memory
            diagnosis::an_app_on_another_port
            diagnosis::an_app_on_127_0_0_1_only
            diagnosis::an_app_that_listens_nowhere
            diagnosis::an_app_whose_health_check_fails
            diagnosis::an_image_that_is_not_there
            diagnosis::a_slow_app_is_waited_for
            logs::lines_that_were_printed_are_read
            logs::new_lines_are_followed_of_later_replicas_too
            logs::the_output_of_one_replica_is_read_on_behind_a_moment
            sessions::a_command_ends_with_its_exit_code
            sessions::what_goes_in_comes_out
            sessions::a_command_that_is_not_there_fails
            sessions::variables_and_secrets_reach_the_app
            sessions::a_command_can_be_cancelled
            sessions::nothing_runs_in_a_service_without_replicas
            sessions::a_one_off_command_leaves_nothing_behind
            jobs::a_job_ends_with_its_exit_code_and_its_output_is_passed_on
            jobs::a_job_that_is_not_there_fails
            jobs::a_job_that_was_cut_off_is_gone_on_with
            jobs::a_job_can_be_cancelled
        );
    };
    (@tests $fixture:expr; $($module:ident :: $case:ident)+) => {
        $(
            #[tokio::test]
            async fn $case() {
                $crate::runtime::suite::check($fixture.await, $crate::runtime::suite::$module::$case).await;
            }
        )+
    };
}

/// The cases for runtimes whose replicas are real processes.
#[macro_export]
macro_rules! runtime_suite_real {
    ($fixture:expr) => {
        $crate::runtime_suite!(@tests $fixture;
            isolation::services_of_an_environment_find_each_other_by_name
            isolation::a_replica_is_reached_at_its_address
            isolation::volumes_outlive_releases
            isolation::one_off_commands_have_the_volumes_and_no_name
            limits::memory_processor_and_processes_are_limited
            limits::replicas_have_few_rights
            diagnosis::a_command_as_health_check
            diagnosis::a_tcp_health_check
            diagnosis::an_app_that_recovers_after_a_restart_is_healthy
            diagnosis::a_worker_without_a_port_has_to_keep_running
            diagnosis::a_command_that_does_not_exist
            logs::long_lines_are_whole
            logs::both_outputs_are_told_apart
            sessions::a_terminal_has_the_size_it_was_given
            sessions::standard_error_is_kept_apart
            sessions::much_output_arrives_whole
            jobs::files_are_in_place_before_anything_runs
        );
    };
}

/// The case that may have to run with nothing beside it: some engines' networks
/// lose their isolation for a moment while other networks come and go.
#[macro_export]
macro_rules! runtime_suite_isolation {
    ($fixture:expr) => {
        $crate::runtime_suite!(@tests $fixture;
            isolation::environments_do_not_reach_each_other
        );
    };
}
