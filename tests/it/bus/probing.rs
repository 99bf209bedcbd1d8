//! Assertions that do not hold: what a test prints then.

use brooklet::dlq::{Filter, Letters, State};
use brooklet::testing::TestBus;

use super::{Seen, bus_with, message_of, publish};

/// A test that fails would say no more than that.
#[test]
fn a_topic_that_is_not_as_expected_is_shown() {
    let bus = TestBus::new().unwrap();
    for order in ["a", "b"] {
        publish(&bus, order);
    }
    let orders = bus.topic("orders");
    orders.assert_values(["a", "b"]);
    orders.assert_len(2);
    let text = message_of(|| orders.assert_values(["a", "c", "d"]));
    let expected = "orders does not have the values expected\n     0: found \"a\", expected \"a\"\
                    \n!    1: found \"b\", expected \"c\"\n!    2: found -, expected \"d\"";
    assert_eq!(text, expected);
    let text = message_of(|| orders.assert_empty());
    assert_eq!(text, "orders has 2 records, not 0\n     0: found \"a\"\n     1: found \"b\"");
    let text = message_of(|| bus.topic("none").assert_empty());
    assert!(text.starts_with("none cannot be read: ") && text.contains("unknown topic"), "{text}");
}

/// The same, for groups.
#[test]
fn a_group_that_is_behind_is_shown() {
    let mut bus = bus_with(&["fine 0", "fine 1"], &Seen::default());
    bus.settle().unwrap();
    bus.group("billing").assert_caught_up();
    bus.group("billing").assert_committed("orders", 0, 2);
    publish(&bus, "fine 2");
    let text = message_of(|| bus.group("billing").assert_caught_up());
    assert_eq!(text, "billing is behind\n     0: found orders/0: 1 behind, committed: 2");
    let text = message_of(|| bus.group("billing").assert_committed("orders", 0, 3));
    assert!(text.ends_with("found 2, expected 3"), "{text}");
    let text = message_of(|| bus.group("none").assert_caught_up());
    assert!(text.starts_with("none cannot be described: "), "{text}");
}

/// The same, for dead letters: what is there may be what was looked for in another state.
#[test]
fn dead_letters_that_are_not_as_expected_are_shown() {
    let mut bus = bus_with(&["dead 0", "fine", "dead 2"], &Seen::default());
    bus.settle().unwrap();
    let letters = bus.dead_letters();
    letters.assert_count(2);
    let letter = letters.clone().topic("orders").group("billing").value("dead 2").assert_one();
    assert_eq!(letter.source_offset().value(), 2);
    letters.clone().error_contains("no such customer").assert_count(2);
    letters.clone().error_contains("no such order").assert_none();
    letters.clone().group("shipping").assert_none();
    letters.clone().key("k").assert_none();

    Letters::of(bus.log()).discard(&Filter::new().letter(&letter)).unwrap().confirm(1).unwrap();
    letters.assert_one();
    letters.clone().state(State::Discarded).value("dead 2").assert_one();
    let text = message_of(|| letters.clone().value("dead 2").assert_one());
    let expected = "0 dead letters are as asked for, not 1; all there are:\
        \n     0: found billing of orders/0@0: no key, \"dead 0\", waiting after 1 attempts: no such customer\
        \n     1: found billing of orders/0@2: no key, \"dead 2\", discarded after 1 attempts: no such customer";
    assert_eq!(text, expected);
    let text = message_of(|| letters.assert_none());
    assert!(text.starts_with("1 dead letters are as asked for, not 0"), "{text}");
}
