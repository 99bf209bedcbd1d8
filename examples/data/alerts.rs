//! From events to alerts: a group of two members, dead letters, a redrive, a second group.

use std::collections::BTreeSet;
use std::io::Write;
use std::thread;
use std::time::Duration;

use brooklet::dlq::{Filter, Letters, State};
use brooklet::worker::{Delivery, Failure, Running, Worker};
use brooklet::{Log, Producer, Record, StartAt, Timestamp, TopicConfig};

use super::{Outcome, TOPIC, read};
use crate::event::Event;

/// The topic of strong earthquakes, and the group that finds them.
const ALERTS: &str = "alerts";
const STRONG: f64 = 4.5;

/// Handles what the group has not handled yet; a run that was killed left the rest.
pub(crate) fn raise(log: &Log, events: &[Event<'_>], out: &mut impl Write) -> Outcome {
    log.ensure_topic(ALERTS, TopicConfig::new())?;
    let alerts = log.producer(ALERTS)?;
    let members = [member(log, &alerts)?, member(log, &alerts)?];
    catch_up(log, out)?;
    let letters = Letters::of(log);
    let of_group = Filter::new().topic(TOPIC).group(ALERTS);
    for failures in letters.failure_groups(&of_group)? {
        writeln!(out, "dead letters: {} times {:?}", failures.count, failures.sample.error())?;
    }
    // Somebody has looked at them: what is redriven is fine.
    let waiting = of_group.clone().state(State::Waiting);
    writeln!(out, "redrive: {} letters", letters.redrive(&waiting).run()?.letters)?;
    catch_up(log, out)?;
    for member in members {
        assert!(member.stop(Duration::from_secs(10)).is_drained, "nothing was left in its hands");
    }

    let found = read(log.reader(ALERTS))?;
    let found = found.iter().filter_map(|alert| alert.value().map(Vec::from));
    let found = found.collect::<BTreeSet<_>>();
    let strong = events.iter().filter(|event| is_strong(event));
    let strong = strong.map(|event| event.line.as_bytes().to_vec()).collect::<BTreeSet<_>>();
    assert_eq!(found, strong, "every strong earthquake is an alert, at least once");
    let dead = letters.list(&of_group)?;
    let lines = dead.iter().filter_map(|letter| letter.value().map(Vec::from));
    let lines = lines.collect::<BTreeSet<_>>();
    assert_eq!(lines.len(), dead.len(), "no record has two letters");
    // One that was in hand when the process was killed, and killed again, has a letter as well.
    let failed = events.iter().filter(|event| !is_earthquake(event));
    let told = failed.clone().filter(|event| lines.contains(event.line.as_bytes())).count();
    assert_eq!(told, failed.count(), "whatever is not an earthquake has a letter");
    let (found, all) = (found.len(), events.len());
    let lag = log.group(ALERTS)?.lag();
    writeln!(out, "alerts: {found} of {all} events, {} letters, lag {lag}", dead.len())?;
    assert_eq!(lag, 0);
    Ok(())
}

/// Another group reads the events of a time and later, each of them once.
pub(crate) fn review(log: &Log, time: Timestamp, out: &mut impl Write) -> Outcome {
    let start = StartAt::Timestamp(time);
    let mut consumer = log.consumer("review").topics([TOPIC]).start_at(start).open()?;
    let mut count = 0;
    while log.group("review")?.lag() > 0 {
        count += consumer.poll(Duration::from_secs(1))?.len();
        consumer.commit()?;
    }
    writeln!(out, "review: {count} events that the group had not read yet")?;
    Ok(())
}

fn member(log: &Log, alerts: &Producer) -> Result<Running, brooklet::Error> {
    let alerts = alerts.clone();
    let worker = Worker::new(log, ALERTS).topics([TOPIC]);
    worker.handle(move |delivery| handle(&delivery, &alerts)).spawn()
}

fn handle(delivery: &Delivery, alerts: &Producer) -> Result<(), Failure> {
    let line = std::str::from_utf8(delivery.value().unwrap_or_default()).map_err(Failure::dead)?;
    let event = Event::parse(line).map_err(Failure::dead)?;
    let is_redriven = delivery.topic_partition().topic().as_str() != TOPIC;
    if !is_earthquake(&event) && !is_redriven {
        return Err(Failure::dead(format!("not an earthquake: {}", event.kind)));
    }
    if is_strong(&event) {
        // It is on disk before the event counts as handled.
        delivery.emit(alerts, Record::new(line).key(event.network).timestamp(event.time))?;
    }
    Ok(())
}

fn is_earthquake(event: &Event<'_>) -> bool {
    event.kind == "earthquake"
}

fn is_strong(event: &Event<'_>) -> bool {
    event.magnitude.is_some_and(|magnitude| magnitude >= STRONG)
}

/// Waits until the group has handled everything, and tells how far it is.
fn catch_up(log: &Log, out: &mut impl Write) -> Outcome {
    let mut told = None;
    loop {
        let lag = log.group(ALERTS)?.lag();
        if told.replace(lag) != Some(lag) {
            writeln!(out, "  {lag} to handle")?;
        }
        if lag == 0 {
            return Ok(());
        }
        thread::sleep(Duration::from_millis(1));
    }
}
