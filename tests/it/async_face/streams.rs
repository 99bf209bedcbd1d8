//! Readers and consumers as streams.

use brooklet::ErrorKind;
use futures_lite::StreamExt;

use super::runtimes::under_each;
use super::{Arc, Bell, Record, Scene, number, poll_once};

/// A stream would end too early or never, or touch files where it is polled.
#[test]
fn streams_give_what_polls_give_under_every_executor() {
    under_each(
        || Scene::new(3),
        |scene, threads| async move {
            threads.note();
            let log = &scene.log;
            let producer = log.producer("orders").unwrap();
            for value in 0..200 {
                let value = value.to_string();
                producer.submit(Record::new(&value).key(&value)).await.unwrap();
            }
            let reader = log.reader("orders").stop_at_end().open_async().await.unwrap();
            let records = reader.into_stream().map(|record| number(record.unwrap().value()));
            let mut values = records.collect::<Vec<_>>().await;
            threads.note();
            values.sort_unstable();
            assert_eq!(values, (0..200).collect::<Vec<_>>());

            let builder = log.consumer("billing").topics(["orders"]);
            let mut batches = builder.open_async().await.unwrap().into_stream();
            let mut count = 0;
            while count < 200 {
                count += batches.next().await.unwrap().unwrap().len();
                batches.consumer().commit_async().await.unwrap();
                threads.note();
            }
            assert_eq!(count, 200);
            log.close_async().await.unwrap();
            assert_eq!(batches.next().await.unwrap().unwrap_err().kind(), ErrorKind::Closed);
            assert!(batches.next().await.is_none(), "a stream without end");
        },
    );
}

/// A stream that is asked and then left would lose a record.
#[test]
fn asking_a_stream_and_leaving_loses_nothing() {
    let scene = Scene::new(4);
    scene.send(0..100);
    let mut records = scene.log.reader("orders").stop_at_end().open().unwrap().into_stream();
    scene.reads.shut();
    let bell = Arc::new(Bell::default());
    for _ in 0..3 {
        assert!(poll_once(records.next(), &bell).is_pending(), "a record past the gate");
    }
    scene.reads.open();
    let values = records.map(|record| number(record.unwrap().value()));
    let mut values = futures_lite::future::block_on(values.collect::<Vec<_>>());
    values.sort_unstable();
    assert_eq!(values, (0..100).collect::<Vec<_>>());
}
