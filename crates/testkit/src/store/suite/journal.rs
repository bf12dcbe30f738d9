use std::collections::BTreeMap;

use nonna_engine::event::Outcome;
use nonna_engine::ports::journal::{Entry, Mark};
use nonna_engine::{Code, Error};
use nonna_model::{DeploymentId, ReleaseNumber, ReleaseState};
use nonna_store::records::{DeploymentState, Owner, VariablesChange};

use super::setting::{commit_step, spec_with_volume};
use super::{Setting, Want, name};

fn failed() -> Error {
    Error::provider(Code::ReplicaUnhealthy, "web v1 never answered.")
        .hint("Listen on PORT.")
        .detail("GET / → 500")
}

pub async fn lines_are_kept_in_order(s: &Setting) {
    let id = s.begin(&s.plan(&[("web", Want::Image("a"))]).await).await;
    let other = s.at("blog", "production");
    let unrelated = other.begin(&other.plan(&[("web", Want::Image("a"))]).await).await;
    let mut written = Vec::new();
    for (step, mark) in [
        (3, Mark::Begun),
        (1, Mark::Begun),
        (3, Mark::Done),
        (1, Mark::Failed),
        (3, Mark::UndoBegun),
        (3, Mark::Undone),
        (3, Mark::Begun),
    ] {
        let entry = Entry { step, mark };
        s.store.record(&id, entry.clone()).await.unwrap();
        s.store.record(&unrelated, Entry { step: 9, mark }).await.unwrap();
        written.push(entry);
    }
    assert_eq!(s.store.entries(&id).await.unwrap(), written);
}

pub async fn what_is_not_there_has_no_journal(s: &Setting) {
    let id = DeploymentId::generate();
    let entry = Entry {
        step: 1,
        mark: Mark::Begun,
    };
    let missing = |error: Error| assert_eq!(error.code, Code::NotFound);
    missing(s.store.record(&id, entry).await.unwrap_err());
    missing(s.store.turn_back(&id, &failed()).await.unwrap_err());
    missing(s.store.start_deployment(&id).await.unwrap_err());
    let plan = s.plan(&[("web", Want::Image("a"))]).await;
    missing(s.store.finish(&id, &plan, &Outcome::Succeeded).await.unwrap_err());
    let service = plan.services.keys().next().unwrap();
    missing(s.store.set_image(&id, service, "sha256:1").await.unwrap_err());
    assert_eq!(s.store.entries(&id).await.unwrap(), []);
    assert_eq!(s.store.turned_back(&id).await.unwrap(), None);
    assert_eq!(s.store.images(&id).await.unwrap(), BTreeMap::new());
}

pub async fn where_an_image_came_from_is_kept(s: &Setting) {
    assert_eq!(s.store.origin("sha256:1").await.unwrap(), None);
    s.store
        .keep_origin("sha256:1", "r.example/a@sha256:aa")
        .await
        .unwrap();
    s.store
        .keep_origin("sha256:2", "r.example/b@sha256:bb")
        .await
        .unwrap();
    s.store
        .keep_origin("sha256:1", "r.example/a@sha256:cc")
        .await
        .unwrap();
    assert_eq!(
        s.store.origin("sha256:1").await.unwrap().as_deref(),
        Some("r.example/a@sha256:cc")
    );
    assert_eq!(
        s.store.origin("sha256:2").await.unwrap().as_deref(),
        Some("r.example/b@sha256:bb")
    );
}

pub async fn images_are_kept_and_reach_the_release(s: &Setting) {
    let plan = s
        .plan(&[("web", Want::Image("a")), ("api", Want::Image("b"))])
        .await;
    let id = s.begin(&plan).await;
    let service = s.service("web").await.unwrap().id;
    s.store.set_image(&id, &service, "sha256:1").await.unwrap();
    s.store.set_image(&id, &service, "sha256:2").await.unwrap();
    let kept = s.store.images(&id).await.unwrap();
    assert_eq!(kept, BTreeMap::from([(service.clone(), "sha256:2".to_owned())]));
    s.store
        .commit(&id, &plan, commit_step(&plan).unwrap())
        .await
        .unwrap();
    let current = s.service("web").await.unwrap().current.unwrap();
    assert_eq!(current.release.image.as_deref(), Some("sha256:2"));
    assert_eq!(
        s.service("api").await.unwrap().current.unwrap().release.image,
        None
    );
}

pub async fn a_commit_makes_targets_current_and_does_so_once(s: &Setting) {
    let plan = s
        .plan(&[("web", Want::Image("a")), ("api", Want::Image("b"))])
        .await;
    let id = s.begin(&plan).await;
    let step = commit_step(&plan).unwrap();
    s.store.commit(&id, &plan, step).await.unwrap();
    for service in ["web", "api"] {
        let current = s.service(service).await.unwrap().current.unwrap();
        assert_eq!(current.release.number, ReleaseNumber(1));
        assert_eq!(current.release.state, ReleaseState::Succeeded);
        assert_eq!((current.replicas, current.paused), (1, false));
    }
    let done = Entry {
        step,
        mark: Mark::Done,
    };
    assert_eq!(s.store.entries(&id).await.unwrap(), std::slice::from_ref(&done));

    // Whoever resumes commits again; what came after must not be undone by it.
    s.store.finish(&id, &plan, &Outcome::Succeeded).await.unwrap();
    s.deploy(&[("web", Want::Image("c"))]).await;
    s.store.commit(&id, &plan, step).await.unwrap();
    assert_eq!(s.current("web").await, Some(2));
    assert_eq!(s.store.entries(&id).await.unwrap(), [done]);
}

pub async fn a_commit_of_what_was_never_reserved_is_refused(s: &Setting) {
    s.deploy(&[("web", Want::Image("a")), ("api", Want::Image("a"))])
        .await;
    let plan = s.plan(&[("api", Want::Image("b"))]).await;
    let other = s
        .plan(&[("api", Want::Image("b")), ("web", Want::Image("b"))])
        .await;
    let id = s.begin(&plan).await;
    let error = s
        .store
        .commit(&id, &other, commit_step(&other).unwrap())
        .await
        .unwrap_err();
    assert_eq!(error.code, Code::Bug);
    assert_eq!(
        (s.current("web").await, s.current("api").await),
        (Some(1), Some(1))
    );
    assert_eq!(s.store.entries(&id).await.unwrap(), []);
}

pub async fn scaling_and_pausing_are_committed(s: &Setting) {
    s.deploy(&[("web", Want::Image("a"))]).await;
    s.deploy(&[("web", Want::Scale(3, false))]).await;
    let current = s.service("web").await.unwrap().current.unwrap();
    assert_eq!(
        (current.release.number.0, current.replicas, current.paused),
        (1, 3, false)
    );
    s.deploy(&[("web", Want::Scale(3, true))]).await;
    assert!(s.service("web").await.unwrap().current.unwrap().paused);
    assert_eq!(s.service("web").await.unwrap().next_release, ReleaseNumber(2));
}

pub async fn a_failed_deployment_changes_nothing_current(s: &Setting) {
    s.deploy(&[("web", Want::Image("a"))]).await;
    let plan = s
        .plan(&[("web", Want::Image("b")), ("new", Want::Image("b"))])
        .await;
    let id = s.begin(&plan).await;
    let service = s.service("web").await.unwrap().id;
    s.store.set_image(&id, &service, "sha256:b").await.unwrap();
    s.store.turn_back(&id, &failed()).await.unwrap();
    let outcome = Outcome::RolledBack { error: failed() };
    s.store.finish(&id, &plan, &outcome).await.unwrap();
    assert_eq!(s.current("web").await, Some(1));
    assert_eq!(s.current("new").await, None);
    let release = s
        .store
        .release(&service, ReleaseNumber(2))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(release.state, ReleaseState::Failed);
    assert_eq!(release.image.as_deref(), Some("sha256:b"));
    assert_eq!(s.service("web").await.unwrap().next_release, ReleaseNumber(3));
    let ended = s.deployment(&id).await;
    assert_eq!(
        (ended.state, ended.outcome),
        (DeploymentState::RolledBack, Some(outcome))
    );
    assert!(ended.finished_at.is_some());
    assert!(s.snapshot().await.unwrap().unfinished.is_empty());
}

pub async fn a_failure_behind_the_commit_keeps_the_release(s: &Setting) {
    let plan = s.plan(&[("web", Want::Image("a"))]).await;
    let id = s.begin(&plan).await;
    s.store
        .commit(&id, &plan, commit_step(&plan).unwrap())
        .await
        .unwrap();
    s.store
        .finish(&id, &plan, &Outcome::Failed { error: failed() })
        .await
        .unwrap();
    let current = s.service("web").await.unwrap().current.unwrap();
    assert_eq!(current.release.state, ReleaseState::Succeeded);
    assert_eq!(s.deployment(&id).await.state, DeploymentState::Failed);
}

pub async fn the_first_reason_to_turn_back_stays(s: &Setting) {
    let id = s.begin(&s.plan(&[("web", Want::Image("a"))]).await).await;
    assert_eq!(s.store.turned_back(&id).await.unwrap(), None);
    s.store.turn_back(&id, &failed()).await.unwrap();
    s.store.turn_back(&id, &Error::cancelled()).await.unwrap();
    assert_eq!(s.store.turned_back(&id).await.unwrap(), Some(failed()));
}

pub async fn the_first_end_stays(s: &Setting) {
    let plan = s.plan(&[("web", Want::Image("a"))]).await;
    let id = s.begin(&plan).await;
    let outcome = Outcome::RolledBack { error: failed() };
    s.store.finish(&id, &plan, &outcome).await.unwrap();
    let first = s.deployment(&id).await;
    s.store.finish(&id, &plan, &Outcome::Succeeded).await.unwrap();
    assert_eq!(s.deployment(&id).await, first);
}

pub async fn a_removed_service_is_forgotten_at_the_end_only(s: &Setting) {
    let wanted = Want::Spec(Box::new(spec_with_volume("a", "data")), 1);
    s.deploy(&[("web", wanted), ("api", Want::Image("a"))]).await;
    let web = s.service("web").await.unwrap().id;
    let mut change = VariablesChange::of(Owner::Service(web.clone()), "tester");
    change.set.insert("A".into(), "1".into());
    s.store.change_variables(change).await.unwrap();

    let plan = s.plan(&[("web", Want::Remove)]).await;
    let id = s.begin(&plan).await;
    s.store
        .commit(&id, &plan, commit_step(&plan).unwrap())
        .await
        .unwrap();
    assert_eq!(s.service("web").await.unwrap().volumes, [name("data")]);
    let failure = Outcome::Failed { error: failed() };
    s.store.finish(&id, &plan, &failure).await.unwrap();
    assert!(s.service("web").await.is_some(), "it was not removed");

    s.deploy(&[("web", Want::Remove)]).await;
    assert!(s.service("web").await.is_none());
    assert_eq!(s.store.list_releases(&web, None, 10).await.unwrap(), []);
    assert_eq!(s.store.list_variables(&Owner::Service(web)).await.unwrap(), []);
    assert!(s.service("api").await.is_some());
}

pub async fn a_removed_environment_is_forgotten_with_all_it_owned(s: &Setting) {
    s.deploy(&[("web", Want::Image("a"))]).await;
    s.at("shop", "staging").deploy(&[("web", Want::Image("a"))]).await;
    let scope = s.scope().await;
    let owner = Owner::Environment(scope.environment.clone());
    let mut change = VariablesChange::of(owner.clone(), "tester");
    change.set_secrets.insert("KEY".into(), "hunter2".into());
    s.store.change_variables(change).await.unwrap();

    let plan = s.plan_removal().await;
    assert!(plan.remove_environment);
    let id = s.begin(&plan).await;
    s.store.finish(&id, &plan, &Outcome::Succeeded).await.unwrap();
    assert_eq!(s.snapshot().await, None);
    assert_eq!(s.store.list_variables(&owner).await.unwrap(), []);
    assert!(s.store.open_secret(&owner, "KEY").await.unwrap().is_none());
    assert_eq!(
        s.deployment(&id).await.state,
        DeploymentState::Succeeded,
        "how it ended is kept"
    );
    let listed = s
        .store
        .list_deployments(&scope.environment, None, 10)
        .await
        .unwrap();
    assert_eq!(listed[0].id, id);

    assert!(
        s.store
            .find_project(&s.organization, &s.project)
            .await
            .unwrap()
            .is_some()
    );
    let staging = s.at("shop", "staging");
    let plan = staging.plan_removal().await;
    let id = staging.begin(&plan).await;
    s.store.finish(&id, &plan, &Outcome::Succeeded).await.unwrap();
    let project = s.store.find_project(&s.organization, &s.project).await.unwrap();
    assert_eq!(project, None, "nothing of the project was left");

    s.deploy(&[("web", Want::Image("a"))]).await;
    assert_ne!(s.scope().await.environment, scope.environment);
}

pub async fn an_environment_in_use_again_is_not_forgotten(s: &Setting) {
    s.deploy(&[("web", Want::Image("a"))]).await;
    let plan = s.plan_removal().await;
    let id = s.begin(&plan).await;
    s.deploy(&[("api", Want::Image("a"))]).await;
    s.store.finish(&id, &plan, &Outcome::Succeeded).await.unwrap();
    assert!(s.service("web").await.is_none());
    assert_eq!(s.current("api").await, Some(1));
}

pub async fn releases_are_listed_in_pages(s: &Setting) {
    for image in ["a", "b", "c", "d", "e"] {
        s.deploy(&[("web", Want::Image(image))]).await;
    }
    let service = s.service("web").await.unwrap().id;
    let page = |before| s.store.list_releases(&service, before, 2);
    let numbers =
        |releases: Vec<nonna_model::Release>| -> Vec<u32> { releases.iter().map(|r| r.number.0).collect() };
    assert_eq!(numbers(page(None).await.unwrap()), [5, 4]);
    assert_eq!(numbers(page(Some(ReleaseNumber(4))).await.unwrap()), [3, 2]);
    assert_eq!(numbers(page(Some(ReleaseNumber(2))).await.unwrap()), [1]);
    assert_eq!(
        numbers(page(Some(ReleaseNumber(1))).await.unwrap()),
        [] as [u32; 0]
    );
}
