//! Buses side by side.

use std::thread;

use super::{Seen, bus_with};

/// Tests that run at the same time would see each other's records, or the same chance not be the
/// same.
#[test]
fn a_thousand_buses_in_threads_know_nothing_of_each_other() {
    const THREADS: usize = 8;
    const EACH: usize = 125;
    let life = |number: usize| {
        let seen = Seen::default();
        let orders =
            [format!("fine {number}"), format!("again {number}"), format!("dead {number}")];
        let orders = orders.each_ref().map(String::as_str);
        let mut bus = bus_with(&orders, &seen);
        let settled = bus.settle().unwrap();
        assert_eq!((settled.handled, settled.retried, settled.dead), (1, 1, 1));
        let slept = settled.sleeping_for.unwrap();
        assert_eq!(bus.advance(slept).unwrap().handled, 1);
        assert_eq!(seen.take(), [orders[0], orders[1], orders[2], orders[1]]);
        bus.topic("orders").assert_values(orders);
        bus.dead_letters().value(orders[2]).assert_one();
        bus.dead_letters().assert_count(1);
        (slept, bus)
    };
    let all = thread::scope(|scope| {
        let threads = (0..THREADS).map(|thread| {
            scope.spawn(move || (0..EACH).map(|n| life(thread * EACH + n)).collect::<Vec<_>>())
        });
        let threads = threads.collect::<Vec<_>>();
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect::<Vec<_>>()
    });
    // They are all there at once, and drew the same chance.
    assert_eq!(all.len(), THREADS * EACH);
    assert!(all.iter().all(|(slept, _)| *slept == all[0].0));
}
