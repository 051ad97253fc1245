//! The record: what was appended is there, in order, after a reopen and from another handle.

mod support;

use model::{Event, Severity};
use store::{EventFilter, FindingFilter, ReferenceError, RunState, Store, StoreError};
use support::{ended, failed, finding, moment, open, recorded, run, run_id, started};

#[tokio::test]
async fn a_record_survives_a_reopen_unchanged() {
    let place = tempfile::tempdir().unwrap();
    let store = open(place.path()).await;
    let mut appended = Vec::new();
    for (second, event) in [
        started(1),
        recorded(1, Severity::High, None),
        ended(1, None),
    ]
    .into_iter()
    .enumerate()
    {
        let at = moment(i64::try_from(second).unwrap());
        appended.push(store.append(event, at).await.unwrap());
    }
    drop(store);
    let store = open(place.path()).await;
    let all = store.events(EventFilter::default()).await.unwrap();
    assert_eq!(all, appended);
    assert_eq!(store.run(run_id(1)).await.unwrap(), Some(run(1, None)));
    let late = EventFilter {
        since: Some(moment(1)),
        until: Some(moment(2)),
        ..EventFilter::default()
    };
    assert_eq!(store.events(late).await.unwrap(), [appended[1].clone()]);
}

#[tokio::test]
async fn an_event_must_follow_the_start_of_its_run() {
    let place = tempfile::tempdir().unwrap();
    let store = open(place.path()).await;
    for event in [ended(1, None), failed(1), recorded(1, Severity::Low, None)] {
        let outcome = store.append(event, moment(0)).await;
        assert!(matches!(outcome, Err(StoreError::UnknownRun { .. })));
    }
    store.append(started(1), moment(0)).await.unwrap();
    let again = store.append(started(1), moment(0)).await;
    assert!(matches!(again, Err(StoreError::Duplicate { .. })));
    store.append(ended(1, None), moment(1)).await.unwrap();
    let over = store.append(failed(1), moment(2)).await;
    assert!(matches!(over, Err(StoreError::RunOver { .. })));
    assert_eq!(store.usage().await.unwrap().events, 2);
}

#[tokio::test]
async fn an_event_that_cannot_be_read_back_is_refused() {
    let place = tempfile::tempdir().unwrap();
    let store = open(place.path()).await;
    store.append(started(1), moment(0)).await.unwrap();
    let mut whole = run(1, None);
    whole.replicas[0].metrics.push(model::MetricSample {
        name: "rate".to_owned(),
        value: f64::INFINITY,
        exact: false,
    });
    let event = Event::RunEnded {
        run: Box::new(whole),
    };
    let outcome = store.append(event, moment(1)).await;
    assert!(matches!(outcome, Err(StoreError::EventUnreadable(_))));
    assert_eq!(store.usage().await.unwrap().events, 1);
}

#[tokio::test]
async fn two_handles_write_one_record() {
    let place = tempfile::tempdir().unwrap();
    let mut tasks = tokio::task::JoinSet::new();
    for handle in 0..4_u64 {
        let path = place.path().to_owned();
        tasks.spawn(async move {
            let store = open(&path).await;
            for number in 0..10 {
                let event = started(handle * 100 + number);
                store.append(event, moment(0)).await.unwrap();
            }
        });
    }
    while let Some(outcome) = tasks.join_next().await {
        outcome.unwrap();
    }
    let store = open(place.path()).await;
    assert_eq!(store.runs(100).await.unwrap().len(), 40);
}

#[tokio::test]
async fn a_run_goes_from_running_to_its_end() {
    let place = tempfile::tempdir().unwrap();
    let reader = open(place.path()).await;
    let store = open(place.path()).await;
    let state = async || reader.find_run("@last").await.unwrap().state;
    store.append(started(1), moment(0)).await.unwrap();
    assert_eq!(state().await, RunState::Running);
    assert_eq!(reader.run(run_id(1)).await.unwrap(), None);
    store.append(ended(1, None), moment(1)).await.unwrap();
    assert_eq!(state().await, RunState::Ended);
    store.append(started(2), moment(2)).await.unwrap();
    assert!(reader.unfinished_runs().await.unwrap().is_empty());
    drop(store);
    let unfinished = reader.unfinished_runs().await.unwrap();
    assert_eq!(unfinished.len(), 1);
    assert_eq!(unfinished[0].id, run_id(2));
    assert_eq!(state().await, RunState::Abandoned);
    reader.append(failed(2), moment(3)).await.unwrap();
    assert_eq!(state().await, RunState::Failed);
}

#[tokio::test]
async fn findings_are_filtered_newest_first() {
    let place = tempfile::tempdir().unwrap();
    let store = open(place.path()).await;
    store.append(started(1), moment(0)).await.unwrap();
    for (number, severity) in [
        (1, Severity::Critical),
        (2, Severity::Low),
        (3, Severity::High),
    ] {
        let event = recorded(number, severity, None);
        store.append(event, moment(0)).await.unwrap();
    }
    let bad = FindingFilter {
        severity_min: Some(Severity::High),
        run: Some(run_id(1)),
        ..FindingFilter::default()
    };
    let found = store.findings(bad).await.unwrap();
    let expected = [
        finding(3, Severity::High, None),
        finding(1, Severity::Critical, None),
    ];
    assert_eq!(found, expected);
    let other = FindingFilter {
        run: Some(run_id(2)),
        ..FindingFilter::default()
    };
    assert!(store.findings(other).await.unwrap().is_empty());
    assert_eq!(store.find_run("@last").await.unwrap().findings, 3);
}

async fn refusal(store: &Store, reference: &str) -> ReferenceError {
    match store.find_run(reference).await {
        Err(StoreError::Reference(error)) => error,
        other => panic!("{reference:?} gave {other:?}"),
    }
}

#[tokio::test]
async fn references_name_one_run_or_say_why_not() {
    let place = tempfile::tempdir().unwrap();
    let store = open(place.path()).await;
    assert!(matches!(
        refusal(&store, "@last").await,
        ReferenceError::NotFound { .. }
    ));
    for number in 1..=9 {
        store.append(started(number), moment(0)).await.unwrap();
    }
    let id = run_id(3).to_string();
    let found = async |reference: &str| store.find_run(reference).await.unwrap().id;
    assert_eq!(found(&id).await, run_id(3));
    assert_eq!(found(&id.to_uppercase()).await, run_id(3));
    assert_eq!(found(&id[..13]).await, run_id(3));
    assert_eq!(found("@last").await, run_id(9));
    assert_eq!(found("@last~2").await, run_id(7));
    let ReferenceError::Ambiguous { matches, .. } = refusal(&store, &id[..8]).await else {
        panic!("a common beginning named one run");
    };
    assert_eq!(matches.len(), 5);
    assert_eq!(matches[0], run_id(1).to_string());
    assert!(matches!(
        refusal(&store, &id[..3]).await,
        ReferenceError::TooShort { .. }
    ));
    for nothing in ["ffff", "@last~9"] {
        assert!(matches!(
            refusal(&store, nothing).await,
            ReferenceError::NotFound { .. }
        ));
    }
    assert!(matches!(
        refusal(&store, "x' OR 1").await,
        ReferenceError::Malformed { .. }
    ));
}

#[tokio::test]
async fn a_finding_is_found_the_same_way() {
    let place = tempfile::tempdir().unwrap();
    let store = open(place.path()).await;
    store.append(started(1), moment(0)).await.unwrap();
    let event = recorded(1, Severity::High, None);
    store.append(event, moment(0)).await.unwrap();
    let expected = finding(1, Severity::High, None);
    for reference in ["@last".to_owned(), expected.id.to_string()[..8].to_owned()] {
        assert_eq!(store.find_finding(&reference).await.unwrap(), expected);
    }
    let outcome = store.find_finding("ffff").await;
    let message = outcome.unwrap_err().to_string();
    assert_eq!(message, "there is no finding \"ffff\" in the store");
}
