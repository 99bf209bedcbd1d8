//! What happens between two looks of one poll at its group.

use std::sync::Arc;

use super::{BTreeSet, Consumer, Duration, Log, NOW, TopicConfig, partitions, send, values};
use brooklet::LogOptions;
use brooklet::testing::{Clock, Env, memory_env, open};
use parking_lot::Mutex;

type Act = Box<dyn FnOnce() + Send>;

/// A clock that stands still, and lets something happen when it is asked for the nth time.
#[derive(Default)]
struct Interrupter(Mutex<Option<(u32, Act)>>);

impl std::fmt::Debug for Interrupter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Interrupter")
    }
}

impl Interrupter {
    fn arm(&self, after: u32, act: impl FnOnce() + Send + 'static) {
        *self.0.lock() = Some((after, Box::new(act)));
    }

    /// Whether it was not asked so often; it is not armed any more.
    fn disarm(&self) -> bool {
        let armed = self.0.lock().take();
        armed.is_some()
    }
}

impl Clock for Interrupter {
    fn wall_millis(&self) -> i64 {
        1_700_000_000_000
    }

    fn monotonic(&self) -> Duration {
        let due = {
            let mut armed = self.0.lock();
            match armed.take() {
                Some((0, act)) => Some(act),
                Some((left, act)) => {
                    *armed = Some((left - 1, act));
                    None
                }
                None => None,
            }
        };
        // With a lock held inside, this would wait for ever.
        due.into_iter().for_each(|act| act());
        Duration::ZERO
    }

    fn is_manual(&self) -> bool {
        true
    }
}

fn scene() -> (Log, Arc<Interrupter>) {
    let clock = Arc::new(Interrupter::default());
    let env = Env { clock: Arc::clone(&clock) as _, ..memory_env() };
    let log = open(&env, "/log", LogOptions::new()).unwrap();
    log.create_topic("orders", TopicConfig::new().partitions(4)).unwrap();
    (log, clock)
}

fn join(log: &Log) -> Consumer {
    log.consumer("billing").topics(["orders"]).open().unwrap()
}

/// A record would go to two members, if a partition moves between the look at the group and the
/// records in hand.
#[test]
fn what_moves_within_a_poll_goes_to_one_member_alone() {
    let mut interrupted = 0;
    for at in 0..16 {
        let (log, clock) = scene();
        let mut first = join(&log);
        first.poll(NOW).unwrap();
        send(&log, "orders", 0..40);
        let second = Arc::new(Mutex::new(None));
        let (log_then, second_then) = (log.clone(), Arc::clone(&second));
        clock.arm(at, move || {
            let mut second = join(&log_then);
            let read = values(&mut second);
            *second_then.lock() = Some((second, read));
        });
        let mut read = first
            .poll(NOW)
            .unwrap()
            .iter()
            .map(|record| String::from_utf8(record.value().unwrap().to_vec()).unwrap())
            .collect::<Vec<_>>();
        if clock.disarm() {
            break;
        }
        interrupted += 1;
        first.commit().unwrap();
        read.extend(values(&mut first));
        first.commit().unwrap();
        let (mut second, of_second) = second.lock().take().unwrap();
        read.extend(of_second);
        read.extend(values(&mut second));
        read.extend(values(&mut first));
        let distinct = read.iter().collect::<BTreeSet<_>>();
        assert_eq!((read.len(), distinct.len()), (40, 40), "interrupted at look {at}");
        assert!(partitions(&first).is_disjoint(&partitions(&second)));
    }
    assert!(interrupted > 3, "a poll of {interrupted} looks at the clock");
}

/// A partition that was to move, and has come to stay, would be read by nobody for ever.
#[test]
fn a_partition_that_comes_to_stay_while_its_owner_takes_note_is_read_on() {
    let mut interrupted = 0;
    for at in 0..16 {
        let (log, clock) = scene();
        let mut first = join(&log);
        send(&log, "orders", 0..40);
        assert_eq!(values(&mut first).len(), 40);
        // Half of it is to go to somebody who leaves while the owner takes note.
        let second = join(&log);
        clock.arm(at, move || drop(second));
        first.poll(NOW).unwrap();
        if clock.disarm() {
            break;
        }
        interrupted += 1;
        first.commit().unwrap();
        send(&log, "orders", 40..80);
        let mut read = values(&mut first);
        read.extend(values(&mut first));
        // What was handed over before its commit comes once more.
        let read = read.into_iter().collect::<BTreeSet<_>>();
        assert!((40..80).all(|value: u32| read.contains(&value.to_string())), "at look {at}");
        first.commit().unwrap();
        assert_eq!(log.group("billing").unwrap().lag(), 0);
    }
    assert!(interrupted > 2, "a poll of {interrupted} looks at the clock");
}

/// Partitions that are added while somebody joins would belong to nobody.
#[test]
fn partitions_that_come_within_a_join_are_not_forgotten() {
    let mut interrupted = 0;
    for at in 0..32 {
        let (log, clock) = scene();
        let first = join(&log);
        let log_then = log.clone();
        clock.arm(at, move || log_then.add_partitions("orders", 7).unwrap());
        let second = join(&log);
        if clock.disarm() {
            break;
        }
        interrupted += 1;
        let group = log.group("billing").unwrap();
        let owned = group.members.iter().map(|member| member.assignment.len()).sum::<usize>();
        assert_eq!(owned, 7, "interrupted at look {at}");
        drop((first, second));
    }
    assert!(interrupted > 3, "a join of {interrupted} looks at the clock");
}
