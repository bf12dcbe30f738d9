use nonna_engine::event::Outcome;
use nonna_engine::{Code, Error};
use nonna_model::{DeploymentId, ReleaseNumber, ReleaseState, ServiceId};
use nonna_store::records::{DeploymentState, Idempotency};

use super::setting::spec_with_volume;
use super::{Setting, Want, name};

pub async fn a_plan_makes_what_it_names(s: &Setting) {
    let plan = s.plan(&[("web", Want::Image("a"))]).await;
    assert_eq!(s.snapshot().await, None, "planning makes nothing");
    let id = s.queue(&plan).await;
    let snapshot = s.snapshot().await.unwrap();
    assert_eq!(snapshot.scope, plan.scope);
    assert_eq!(snapshot.unfinished, std::slice::from_ref(&id));
    let (service, _) = plan.services.first_key_value().unwrap();
    assert_eq!(snapshot.services[0].id, *service);
    let kept = s.deployment(&id).await;
    assert_eq!(kept.plan, plan);
    assert_eq!(kept.state, DeploymentState::Queued);
    assert_eq!(
        (kept.started_at, kept.finished_at, kept.outcome),
        (None, None, None)
    );
}

pub async fn releases_are_reserved_as_pending(s: &Setting) {
    let wanted = Want::Spec(Box::new(spec_with_volume("a", "data")), 2);
    let plan = s.plan(&[("web", wanted)]).await;
    s.queue(&plan).await;
    let service = s.service("web").await.unwrap();
    assert_eq!(service.next_release, ReleaseNumber(2));
    assert_eq!(service.current, None);
    assert_eq!(service.volumes, [name("data")]);
    let release = s
        .store
        .release(&service.id, ReleaseNumber(1))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(release.state, ReleaseState::Pending);
    assert!(release.created_at > 0);
    assert_eq!(release.reason, "deploy");
}

pub async fn a_taken_number_is_refused_and_nothing_is_left(s: &Setting) {
    let first = s.plan(&[("web", Want::Image("a"))]).await;
    s.queue(&first).await;
    let mut second = first.clone();
    let new = ServiceId::generate();
    let mut other = second.services.values().next().unwrap().clone();
    other.name = name("api");
    if let Some(release) = &mut other.release {
        release.service = new.clone();
    }
    second.services.insert(new, other);
    let refused = Setting::new_deployment(&second);
    let error = s.store.create_deployment(refused.clone()).await.unwrap_err();
    assert_eq!(error.code, Code::PlanChanged);
    assert!(error.retryable);
    assert_eq!(s.store.deployment(&refused.id).await.unwrap(), None);
    assert!(s.service("api").await.is_none(), "the whole was taken back");
    assert_eq!(s.service("web").await.unwrap().next_release, ReleaseNumber(2));
}

pub async fn a_plan_of_another_state_is_refused(s: &Setting) {
    s.deploy(&[("web", Want::Image("a"))]).await;
    let plan = s.plan(&[("web", Want::Image("b"))]).await;
    s.deploy(&[("web", Want::Scale(3, false))]).await;
    let error = s
        .store
        .create_deployment(Setting::new_deployment(&plan))
        .await
        .unwrap_err();
    assert_eq!(error.code, Code::PlanChanged);
}

pub async fn a_name_with_another_id_is_refused(s: &Setting) {
    let mut service = s.plan(&[("web", Want::Image("a"))]).await;
    let mut environment = service.clone();
    s.deploy(&[("web", Want::Image("a"))]).await;
    let error = s
        .store
        .create_deployment(Setting::new_deployment(&environment))
        .await
        .unwrap_err();
    assert_eq!(error.code, Code::PlanChanged, "another environment");
    environment.scope.project = s.scope().await.project;
    let error = s
        .store
        .create_deployment(Setting::new_deployment(&environment))
        .await
        .unwrap_err();
    assert_eq!(error.code, Code::PlanChanged, "another environment");
    service.scope = s.scope().await;
    let error = s
        .store
        .create_deployment(Setting::new_deployment(&service))
        .await
        .unwrap_err();
    assert_eq!(error.code, Code::PlanChanged, "another service");
}

pub async fn a_repeated_request_makes_one_deployment(s: &Setting) {
    let key = |request: &str| {
        Some(Idempotency {
            key: "k".to_owned(),
            request: request.to_owned(),
        })
    };
    let mut new = Setting::new_deployment(&s.plan(&[("web", Want::Image("a"))]).await);
    new.idempotency = key("r");
    let first = s.store.create_deployment(new.clone()).await.unwrap();
    new.id = DeploymentId::generate();
    let second = s.store.create_deployment(new.clone()).await.unwrap();
    assert!(second.existed);
    assert_eq!(first.deployment, second.deployment);

    new.idempotency = key("another");
    assert_eq!(
        s.store.create_deployment(new.clone()).await.unwrap_err().code,
        Code::Conflict
    );
    new.actor = "somebody else".to_owned();
    new.plan = s
        .at("blog", "production")
        .plan(&[("web", Want::Image("a"))])
        .await;
    assert!(
        !s.store.create_deployment(new).await.unwrap().existed,
        "keys are an actor's own"
    );
}

pub async fn a_waiting_deployment_gets_another_plan(s: &Setting) {
    let running = s.plan(&[("web", Want::Image("a"))]).await;
    s.begin(&running).await;
    let waiting = s.plan(&[("web", Want::Image("b"))]).await;
    let id = s.queue(&waiting).await;
    let better = s.plan(&[("web", Want::Image("c"))]).await;
    s.store.replace_plan(&id, &better).await.unwrap();
    assert_eq!(s.deployment(&id).await.plan, better);
    let service = s.service("web").await.unwrap();
    let releases = s.store.list_releases(&service.id, None, 10).await.unwrap();
    let numbers: Vec<u32> = releases.iter().map(|r| r.number.0).collect();
    assert_eq!(
        numbers,
        [3, 1],
        "the number of the dropped plan is free of its release"
    );
}

pub async fn only_a_waiting_deployment_gets_another_plan(s: &Setting) {
    let plan = s.plan(&[("web", Want::Image("a"))]).await;
    let id = s.begin(&plan).await;
    assert_eq!(
        s.store.replace_plan(&id, &plan).await.unwrap_err().code,
        Code::Conflict
    );
    let missing = DeploymentId::generate();
    assert_eq!(
        s.store.replace_plan(&missing, &plan).await.unwrap_err().code,
        Code::NotFound
    );
    let elsewhere = s.at("shop", "staging");
    let id = elsewhere
        .queue(&elsewhere.plan(&[("web", Want::Image("a"))]).await)
        .await;
    assert_eq!(
        s.store.replace_plan(&id, &plan).await.unwrap_err().code,
        Code::Conflict
    );
}

pub async fn a_plan_that_is_out_of_date_does_not_start(s: &Setting) {
    s.deploy(&[("web", Want::Image("a"))]).await;
    let id = s.queue(&s.plan(&[("web", Want::Image("b"))]).await).await;
    s.deploy(&[("web", Want::Scale(2, false))]).await;
    let error = s.store.start_deployment(&id).await.unwrap_err();
    assert_eq!(error.code, Code::PlanChanged);
    assert!(error.retryable);
    assert_eq!(s.deployment(&id).await.state, DeploymentState::Queued);
    let again = s.plan(&[("web", Want::Image("b"))]).await;
    s.store.replace_plan(&id, &again).await.unwrap();
    s.store.start_deployment(&id).await.unwrap();
    s.store.start_deployment(&id).await.unwrap();
    let running = s.deployment(&id).await;
    assert_eq!(running.state, DeploymentState::Running);
    assert!(running.started_at.is_some());
}

pub async fn a_cancel_is_noted_until_the_end(s: &Setting) {
    let plan = s.plan(&[("web", Want::Image("a"))]).await;
    let id = s.queue(&plan).await;
    assert_eq!(
        s.store.request_cancel(&id).await.unwrap(),
        DeploymentState::Queued
    );
    assert!(s.deployment(&id).await.cancel_requested);
    let outcome = Outcome::RolledBack {
        error: Error::cancelled(),
    };
    s.store.finish(&id, &plan, &outcome).await.unwrap();
    assert_eq!(s.deployment(&id).await.outcome, Some(outcome));
    assert_eq!(
        s.store.request_cancel(&id).await.unwrap(),
        DeploymentState::RolledBack
    );
    let unknown = DeploymentId::generate();
    assert_eq!(
        s.store.request_cancel(&unknown).await.unwrap_err().code,
        Code::NotFound
    );
    assert_eq!(
        s.store.start_deployment(&id).await.unwrap_err().code,
        Code::Conflict
    );

    let done = s.deploy(&[("web", Want::Image("a"))]).await;
    s.store.request_cancel(&done).await.unwrap();
    assert!(!s.deployment(&done).await.cancel_requested);
}

pub async fn unfinished_ones_come_oldest_first(s: &Setting) {
    let elsewhere = s.at("blog", "production");
    let first = s.begin(&s.plan(&[("web", Want::Image("a"))]).await).await;
    let second = elsewhere
        .queue(&elsewhere.plan(&[("web", Want::Image("a"))]).await)
        .await;
    s.at("wiki", "production")
        .deploy(&[("web", Want::Image("a"))])
        .await;
    let third = s.queue(&s.plan(&[("api", Want::Image("a"))]).await).await;
    let all = s.store.unfinished_deployments().await.unwrap();
    let ids: Vec<_> = all.into_iter().map(|d| d.id).collect();
    assert_eq!(ids, [first.clone(), second, third.clone()]);
    assert_eq!(s.snapshot().await.unwrap().unfinished, [first, third]);
}

pub async fn they_are_listed_in_pages(s: &Setting) {
    let mut made = Vec::new();
    for image in ["a", "b", "c", "d", "e"] {
        made.push(s.deploy(&[("web", Want::Image(image))]).await);
        s.at("blog", "production")
            .deploy(&[("web", Want::Image(image))])
            .await;
    }
    made.reverse();
    let environment = s.scope().await.environment;
    let mut seen = Vec::new();
    loop {
        let page = s
            .store
            .list_deployments(&environment, seen.last(), 2)
            .await
            .unwrap();
        if page.is_empty() {
            break;
        }
        seen.extend(page.into_iter().map(|d| d.id));
    }
    assert_eq!(seen, made);
    let missing = DeploymentId::generate();
    let error = s
        .store
        .list_deployments(&environment, Some(&missing), 2)
        .await
        .unwrap_err();
    assert_eq!(error.code, Code::NotFound);
}

pub async fn two_at_once_do_not_get_one_number(s: &Setting) {
    let plan = s.plan(&[("web", Want::Image("a"))]).await;
    let tries = (0..8).map(|_| s.store.create_deployment(Setting::new_deployment(&plan)));
    let results = futures_util::future::join_all(tries).await;
    assert_eq!(results.iter().filter(|r| r.is_ok()).count(), 1);
    for error in results.into_iter().filter_map(Result::err) {
        assert_eq!(error.code, Code::PlanChanged);
    }
}
