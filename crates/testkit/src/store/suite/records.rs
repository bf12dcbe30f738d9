use nonna_engine::Code;
use nonna_engine::event::{Event, EventKind, Outcome};
use nonna_engine::ports::journal::{Entry, Mark};
use nonna_model::{DeploymentId, ServiceId};
use nonna_store::records::NewAudit;

use super::{Setting, Want};

fn line(deployment: &DeploymentId, text: &str) -> Event {
    Event {
        deployment: deployment.clone(),
        at: 1_700_000_000_000,
        kind: EventKind::BuildOutput {
            step: 1,
            line: text.to_owned(),
        },
    }
}

fn audit(actor: &str, target: &str) -> NewAudit {
    NewAudit {
        at: 1_700_000_000_000,
        actor: actor.to_owned(),
        address: Some("127.0.0.1".to_owned()),
        action: "deployment.create".to_owned(),
        target: target.to_owned(),
        detail: None,
    }
}

pub async fn events_are_numbered_and_read_on(s: &Setting) {
    let other = s.at("blog", "production");
    let a = s.begin(&s.plan(&[("web", Want::Image("a"))]).await).await;
    let b = other.begin(&other.plan(&[("web", Want::Image("a"))]).await).await;
    let numbers = s
        .store
        .append_events(vec![line(&a, "1"), line(&b, "x"), line(&a, "2")])
        .await
        .unwrap();
    assert_eq!(numbers, [1, 1, 2]);
    assert_eq!(s.store.append_events(vec![line(&a, "3")]).await.unwrap(), [3]);
    assert_eq!(s.store.append_events(Vec::new()).await.unwrap(), [] as [u64; 0]);

    let all = s.store.events_after(&a, 0, 100).await.unwrap();
    assert_eq!(all.iter().map(|e| e.sequence).collect::<Vec<_>>(), [1, 2, 3]);
    assert_eq!(all[1].event, line(&a, "2"));
    let page = s.store.events_after(&a, 1, 1).await.unwrap();
    assert_eq!(page, all[1..2]);
    assert_eq!(s.store.events_after(&a, 3, 100).await.unwrap(), []);
    assert_eq!(s.store.events_after(&a, u64::MAX, 100).await.unwrap(), []);
    assert_eq!(
        s.store
            .events_after(&DeploymentId::generate(), 0, 100)
            .await
            .unwrap(),
        []
    );
}

pub async fn events_of_nothing_are_refused(s: &Setting) {
    let a = s.begin(&s.plan(&[("web", Want::Image("a"))]).await).await;
    let batch = vec![line(&a, "1"), line(&DeploymentId::generate(), "2")];
    let error = s.store.append_events(batch).await.unwrap_err();
    assert_eq!(error.code, Code::NotFound);
    assert_eq!(
        s.store.events_after(&a, 0, 100).await.unwrap(),
        [],
        "all or nothing"
    );
    assert_eq!(s.store.append_events(vec![line(&a, "1")]).await.unwrap(), [1]);
}

pub async fn pruning_spares_what_is_under_way(s: &Setting) {
    let done = s.deploy(&[("web", Want::Image("a"))]).await;
    let running = s.begin(&s.plan(&[("web", Want::Image("b"))]).await).await;
    let entry = Entry {
        step: 1,
        mark: Mark::Begun,
    };
    s.store.record(&running, entry).await.unwrap();
    for id in [&done, &running] {
        s.store.append_events(vec![line(id, "1")]).await.unwrap();
    }
    let finished = s.deployment(&done).await.finished_at.unwrap();
    assert_eq!(
        s.store.prune(finished).await.unwrap(),
        0,
        "it finished at that time, not before"
    );
    // Its event and the line of its commit.
    assert_eq!(s.store.prune(i64::MAX).await.unwrap(), 2);
    assert_eq!(s.store.events_after(&done, 0, 10).await.unwrap(), []);
    assert_eq!(s.store.entries(&done).await.unwrap(), []);
    assert_eq!(s.store.events_after(&running, 0, 10).await.unwrap().len(), 1);
    assert_eq!(s.store.entries(&running).await.unwrap().len(), 1);
    assert_eq!(s.deployment(&done).await.outcome, Some(Outcome::Succeeded));
    assert_eq!(
        s.store.append_events(vec![line(&done, "2")]).await.unwrap(),
        [2],
        "numbers go on"
    );
}

pub async fn pruning_forgets_images_that_nobody_needs(s: &Setting) {
    let deployment = s.begin(&s.plan(&[("web", Want::Image("a"))]).await).await;
    let web = s.service("web").await.unwrap().id;
    s.store
        .set_image(&deployment, &web, "sha256:coming")
        .await
        .unwrap();
    s.store
        .put_build_result(&web, "source", "sha256:built")
        .await
        .unwrap();
    for image in ["sha256:coming", "sha256:built", "sha256:gone"] {
        s.store.keep_origin(image, "r.example/a@sha256:aa").await.unwrap();
    }
    s.store.prune(0).await.unwrap();
    assert!(
        s.store.origin("sha256:gone").await.unwrap().is_some(),
        "it is too new to be pruned"
    );
    s.store.prune(i64::MAX).await.unwrap();
    assert_eq!(s.store.origin("sha256:gone").await.unwrap(), None);
    assert!(s.store.origin("sha256:coming").await.unwrap().is_some());
    assert!(s.store.origin("sha256:built").await.unwrap().is_some());
}

pub async fn blobs_are_replaced_listed_and_removed(s: &Setting) {
    let bytes: Vec<u8> = (0..=255).collect();
    s.store
        .put_blob("certificate", "b.example", &bytes)
        .await
        .unwrap();
    s.store
        .put_blob("certificate", "a.example", b"old")
        .await
        .unwrap();
    s.store
        .put_blob("certificate", "a.example", b"new")
        .await
        .unwrap();
    s.store.put_blob("account", "a.example", b"").await.unwrap();
    let get = async |kind: &str, key: &str| s.store.get_blob(kind, key).await.unwrap().map(|b| b.to_vec());
    assert_eq!(get("certificate", "b.example").await, Some(bytes));
    assert_eq!(
        get("certificate", "a.example").await.as_deref(),
        Some(b"new".as_slice())
    );
    assert_eq!(get("account", "a.example").await.as_deref(), Some(b"".as_slice()));
    assert_eq!(get("account", "b.example").await, None);
    let keys: Vec<String> = s
        .store
        .list_blobs("certificate")
        .await
        .unwrap()
        .into_iter()
        .map(|b| b.key)
        .collect();
    assert_eq!(keys, ["a.example", "b.example"]);
    assert!(s.store.delete_blob("certificate", "a.example").await.unwrap());
    assert!(!s.store.delete_blob("certificate", "a.example").await.unwrap());
    assert_eq!(get("certificate", "a.example").await, None);
    assert!(get("account", "a.example").await.is_some());
}

pub async fn the_audit_log_is_listed_in_pages(s: &Setting) {
    for n in 1..=5 {
        let number = s
            .store
            .append_audit(audit("ann", &format!("shop/{n}")))
            .await
            .unwrap();
        assert_eq!(number, n);
    }
    let page = s.store.list_audit(None, 2).await.unwrap();
    assert_eq!(page.iter().map(|a| a.sequence).collect::<Vec<_>>(), [5, 4]);
    assert_eq!(page[0].entry, audit("ann", "shop/5"));
    let rest = s.store.list_audit(Some(4), 100).await.unwrap();
    assert_eq!(rest.iter().map(|a| a.sequence).collect::<Vec<_>>(), [3, 2, 1]);
    assert_eq!(s.store.list_audit(Some(1), 100).await.unwrap(), []);
}

pub async fn build_results_go_with_their_service(s: &Setting) {
    s.deploy(&[("web", Want::Image("a"))]).await;
    let web = s.service("web").await.unwrap().id;
    s.store
        .put_build_result(&web, "sha256:s", "image:1")
        .await
        .unwrap();
    s.store
        .put_build_result(&web, "sha256:s", "image:2")
        .await
        .unwrap();
    let nobody = ServiceId::generate();
    s.store
        .put_build_result(&nobody, "sha256:s", "image:3")
        .await
        .unwrap();
    assert_eq!(
        s.store.build_result(&web, "sha256:s").await.unwrap().as_deref(),
        Some("image:2")
    );
    assert_eq!(s.store.build_result(&web, "sha256:t").await.unwrap(), None);
    assert_eq!(s.store.build_result(&nobody, "sha256:s").await.unwrap(), None);
    s.deploy(&[("web", Want::Remove)]).await;
    assert_eq!(s.store.build_result(&web, "sha256:s").await.unwrap(), None);
}

pub async fn strange_text_comes_back_as_it_went(s: &Setting) {
    let strange = "'; DROP TABLE audit; -- \" \\ \u{0} \r\n \u{1b}[31m 🦀 \u{202e}%s ${x} `id`";
    s.store.append_audit(audit(strange, strange)).await.unwrap();
    let back = s.store.list_audit(None, 1).await.unwrap();
    assert_eq!(back[0].entry, audit(strange, strange));
    s.store
        .put_blob(strange, strange, strange.as_bytes())
        .await
        .unwrap();
    let blob = s.store.get_blob(strange, strange).await.unwrap().unwrap();
    assert_eq!(*blob, strange.as_bytes());
    let id = s
        .begin(&s.plan(&[("web", Want::Image("a'\"\\ \u{0}"))]).await)
        .await;
    s.store.append_events(vec![line(&id, strange)]).await.unwrap();
    assert_eq!(
        s.store.events_after(&id, 0, 1).await.unwrap()[0].event,
        line(&id, strange)
    );
}

pub async fn many_writers_at_once_lose_nothing(s: &Setting) {
    let id = s.begin(&s.plan(&[("web", Want::Image("a"))]).await).await;
    let writes = (0..200_u32).map(|n| {
        let id = id.clone();
        async move {
            let mark = Mark::Begun;
            s.store.record(&id, Entry { step: n, mark }).await.unwrap();
            // What was acknowledged is there for whoever asks next.
            let entries = s.store.entries(&id).await.unwrap();
            assert!(entries.iter().any(|e| e.step == n));
            s.store
                .append_events(vec![line(&id, &n.to_string())])
                .await
                .unwrap()[0]
        }
    });
    let mut numbers = futures_util::future::join_all(writes).await;
    numbers.sort_unstable();
    assert_eq!(numbers, (1..=200).collect::<Vec<u64>>());
    assert_eq!(s.store.entries(&id).await.unwrap().len(), 200);
}
