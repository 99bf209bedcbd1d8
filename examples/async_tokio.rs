//! A web-style handler on a runtime of one thread: it submits, awaits the disk, and answers.
//! Another task of the same thread reads what was accepted, in a group, and commits.

use brooklet::{Consumer, Log, Producer, Record, SendError, TopicConfig};

/// Answers when the order is on disk; requests that come at the same time share a sync.
async fn handle(producer: Producer, order: u32) -> Result<String, SendError> {
    let body = format!("order {order}");
    let receipt = producer.submit(Record::new(&body).key("customer-7")).await?;
    Ok(format!("202 Accepted: {receipt}"))
}

/// Reads until it has seen so many orders.
async fn ship(mut consumer: Consumer, orders: usize) -> Result<usize, brooklet::Error> {
    let mut shipped = 0;
    while shipped < orders {
        let batch = consumer.poll_async().await?;
        shipped += batch.len();
        consumer.commit_async().await?;
    }
    consumer.leave_async().await?;
    Ok(shipped)
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let dir = tempfile::tempdir()?;
    let log = Log::open(dir.path())?;
    log.create_topic("orders", TopicConfig::new().partitions(3))?;
    let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    let (answers, shipped) = runtime.block_on(async {
        let producer = log.producer("orders")?;
        let consumer = log.consumer("shipping").topics(["orders"]).open_async().await?;
        let shipping = tokio::spawn(ship(consumer, 100));
        let requests = (0..100).map(|order| tokio::spawn(handle(producer.clone(), order)));
        let mut answers = Vec::new();
        for request in requests.collect::<Vec<_>>() {
            answers.push(request.await??);
        }
        let shipped = shipping.await??;
        log.close_async().await?;
        Ok::<_, Box<dyn std::error::Error>>((answers, shipped))
    })?;
    assert_eq!((answers.len(), shipped), (100, 100));
    assert!(answers.iter().all(|answer| answer.starts_with("202 Accepted: orders/")));
    Ok(())
}
