//! Sending without waiting: `submit` touches no file, so that it is safe on an async executor.
//! What it returns is a future; the few lines of `block_on` stand in for a runtime.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};

use brooklet::{Log, Record, TopicConfig};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let dir = tempfile::tempdir()?;
    let log = Log::open(dir.path())?;
    log.create_topic("orders", TopicConfig::new())?;
    let producer = log.producer("orders")?;

    let last = block_on(async {
        // All of them are on their way before the first one is waited for; they share syncs.
        let orders = (0..100).map(|number| format!("order-{number}"));
        let pending = orders.map(|order| producer.submit(Record::new(&order))).collect::<Vec<_>>();
        let mut last = None;
        for pending in pending {
            last = Some(pending.await?);
        }
        Ok::<_, brooklet::SendError>(last)
    })?;
    assert_eq!(last.map(|receipt| receipt.to_string()).as_deref(), Some("orders/0@99"));

    // Whoever is not async can wait as well.
    let receipt = producer.submit(Record::new("order-100")).wait()?;
    assert_eq!(receipt.offset().value(), 100);
    log.close()?;
    Ok(())
}

fn block_on<F: Future>(future: F) -> F::Output {
    struct Unpark(Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut future = pin!(future);
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
            return output;
        }
        thread::park();
    }
}
