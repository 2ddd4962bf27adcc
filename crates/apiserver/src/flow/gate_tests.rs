use serde_json::json;

use super::super::bootstrap;
use super::*;

fn gate(seats: u32) -> Arc<Gate> {
    let gate = Gate::new(seats);
    let objects = bootstrap::objects();
    let schemas = objects.iter().filter(|o| o["kind"] == "FlowSchema");
    let levels = objects.iter().filter(|o| o["kind"] != "FlowSchema");
    gate.configure(
        schemas.filter_map(FlowSchema::parse).collect(),
        levels.filter_map(Level::parse).collect(),
    );
    gate
}

fn get() -> RequestInfo {
    let uri = "/api/v1/namespaces/n/pods/p".parse().unwrap();
    RequestInfo::parse(&http::Method::GET, &uri)
}

fn user(name: &str) -> User {
    User::new(name, &["system:authenticated"])
}

#[tokio::test(start_paused = true)]
async fn a_greedy_user_waits_behind_itself_and_the_others_do_not() {
    let gate = gate(60);
    let greedy = gate.classify(&get(), &user("greedy")).unwrap();
    assert_eq!(greedy.schema.name, "global-default");
    let mut held = Vec::new();
    let mut waiting = Vec::new();
    for _ in 0..200 {
        let (gate, class) = (Arc::clone(&gate), greedy.clone());
        let mut entering = Box::pin(async move { gate.enter(&class, 1).await });
        match futures_util::poll!(&mut entering) {
            std::task::Poll::Ready(place) => held.push(place.unwrap()),
            std::task::Poll::Pending => waiting.push(entering),
        }
    }
    assert!(!waiting.is_empty() && held.len() < 60);
    let modest = gate.classify(&get(), &user("modest")).unwrap();
    let place = tokio::time::timeout(Duration::ZERO, gate.enter(&modest, 1)).await;
    drop(place.unwrap().unwrap());
    let own = tokio::time::timeout(Duration::ZERO, gate.enter_in_process()).await;
    drop(own.unwrap().unwrap());
    // Each place that is given back goes to one that waits.
    let before = gate.level_state(greedy.slot);
    held.pop();
    let first = waiting.remove(0).await.unwrap();
    assert_eq!(gate.level_state(greedy.slot).waiting, before.waiting - 1);
    drop(first);
    // Whoever goes away leaves its queue; what nobody serves is sent away in time.
    waiting.truncate(1);
    assert_eq!(gate.level_state(greedy.slot).waiting, 0);
    drop(waiting);
    drop(held);
    assert_eq!(gate.level_state(greedy.slot), LevelState::default());
}

#[tokio::test(start_paused = true)]
async fn a_wait_has_an_end_and_a_queue_has_one_too() {
    let gate = gate(20);
    let class = gate.classify(&get(), &user("greedy")).unwrap();
    let mut held = Vec::new();
    while let Ok(place) = tokio::time::timeout(Duration::ZERO, gate.enter(&class, 1)).await {
        held.push(place.unwrap());
    }
    assert_eq!(gate.enter(&class, 1).await.unwrap_err(), Refusal::TimeOut);
    let mut queued = Vec::new();
    let refused = loop {
        let mut entering = Box::pin(gate.enter(&class, 1));
        match futures_util::poll!(&mut entering) {
            std::task::Poll::Ready(result) => break result.unwrap_err(),
            std::task::Poll::Pending => queued.push(entering),
        }
    };
    // A hand of six queues of fifty.
    assert_eq!((refused, queued.len()), (Refusal::QueueFull, 300));
    assert_eq!(class.schema.stats.refused(Refusal::QueueFull), 1);
}

#[tokio::test]
async fn a_new_configuration_counts_for_what_comes() {
    let gate = gate(100);
    let class = gate.classify(&get(), &user("joe")).unwrap();
    let place = gate.enter(&class, 1).await.unwrap();
    let schema = json!({
        "metadata": {"name": "joe", "uid": "1"},
        "spec": {"matchingPrecedence": 500, "priorityLevelConfiguration": {"name": "own"}, "rules": [{
            "subjects": [{"kind": "User", "user": {"name": "joe"}}],
            "resourceRules": [{"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"], "namespaces": ["*"]}],
        }]},
    });
    let level = json!({"metadata": {"name": "own"}, "spec": {"type": "Limited", "limited": {"limitResponse": {"type": "Reject"}, "borrowingLimitPercent": 0}}});
    gate.configure(
        vec![FlowSchema::parse(&schema).unwrap()],
        vec![Level::parse(&level).unwrap()],
    );
    let own = gate.classify(&get(), &user("joe")).unwrap();
    assert_eq!(own.schema.name, "joe");
    assert_ne!(own.slot, class.slot);
    // The old level is gone once it is empty, and its slot serves another.
    drop(place);
    assert_eq!(gate.level_state(class.slot), LevelState::default());
}
