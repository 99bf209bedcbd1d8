//! A consumer behind a channel: records come to a receiver, and are acked from anywhere.
//!
//! A thread polls, fills the channel and commits; [`crate::consumer::feed`] says how. What is here
//! is what the user holds: the receiver is one of `crossbeam_channel`, so that it can stand in a
//! `select!` beside others.

use std::fmt;

use crossbeam_channel::{Receiver, Sender, bounded, unbounded};

use crate::consumer::Consumer;
use crate::consumer::feed::{Feed, Item, Order};
use crate::error::{Error, ErrorKind};
use crate::offset::{Offset, TopicPartition};
use crate::record::Located;
use crate::sync::{Arc, Shared};

/// Says which records of a channel are done with. Clones are handles to the same member.
///
/// Records may be acked by any thread and in any order. What is committed of a partition is what
/// was acked without a gap from its first record on; whatever lies behind a gap is handed out again
/// if the member ends. A partition that is to go to another member stays until everything that was
/// handed out of it is acked, while the other partitions go on.
///
/// The member leaves its group, behind what was acked, when the last acker is dropped, and when a
/// record finds that the receiver was.
#[derive(Clone)]
pub struct Acker {
    orders: Sender<Order>,
    ended: Arc<Shared<Option<Error>>>,
}

impl Consumer {
    /// Has a thread poll and put the records into a channel of `bound` records: 1 to 1,048,576.
    ///
    /// More lets the thread run further ahead of whoever receives; less keeps fewer records from
    /// other members when the partitions are shared out anew.
    ///
    /// Errors come through the channel too. Behind `Fenced` and `Closed` it ends. Any other is about
    /// one partition, which [`Error::partition`] names: nothing more comes of it until
    /// [`Acker::seek`] says where to go on, and the others go on. A commit that failed is told, and
    /// tried again with the next ack.
    ///
    /// The thread polls for as long as it lives, so that the member is never late, however long
    /// records stay in the channel or without an ack. A
    /// [`RebalanceListener`](crate::RebalanceListener) is called on that thread; a partition whose
    /// [`HandOver`](crate::HandOver) it keeps waits for both.
    ///
    /// # Errors
    /// `InvalidConfig` for a bound out of range, or if the log has no threads, as in memory; `Io` if the system starts no more.
    /// The member has left then.
    ///
    /// # Examples
    /// ```
    /// use brooklet::{Log, Record, TopicConfig};
    ///
    /// let dir = tempfile::tempdir()?;
    /// let log = Log::open(dir.path())?;
    /// log.create_topic("orders", TopicConfig::new())?;
    /// log.producer("orders")?.send(Record::new("created"))?;
    ///
    /// let consumer = log.consumer("billing").topics(["orders"]).open()?;
    /// let (acker, records) = consumer.into_channel(100)?;
    /// let record = records.recv()??;
    /// assert_eq!(record.value(), Some(&b"created"[..]));
    /// acker.ack(&record)?;
    /// acker.leave()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn into_channel(self, bound: usize) -> Result<(Acker, Receiver<Item>), Error> {
        let told =
            |error: Error, group: &str| error.during(format_args!("open a channel as {group}"));
        let group = self.group().clone();
        let spawn = Arc::clone(&self.store.env().spawn);
        let refused =
            |text: String| Err(told(Error::new(ErrorKind::InvalidConfig, text), group.as_str()));
        if !(1..=BOUND_MAX).contains(&bound) {
            return refused(format!("a channel of {bound} records, not 1 to {BOUND_MAX}"));
        }
        if !spawn.can_spawn() {
            return refused("a channel needs a thread, and this log has none".to_owned());
        }
        let (sender, receiver) = bounded(bound);
        let (give, take) = unbounded();
        let ended = Arc::new(Shared::default());
        let feed = Feed::new(self, sender, take, Arc::clone(&ended));
        match spawn.spawn("brooklet-channel", Box::new(move || feed.run())) {
            Ok(_thread) => Ok((Acker { orders: give, ended }, receiver)),
            Err(error) => {
                let error = Error::new(ErrorKind::Io, format!("no thread started: {error}"));
                Err(told(error, group.as_str()))
            }
        }
    }
}

impl Acker {
    /// Says that a record is done with; it is committed soon.
    ///
    /// A record of a partition that the member does not own any more is ignored: its next owner has
    /// it.
    ///
    /// # Errors
    /// Why the member has ended, if it has: `Fenced`, `Closed`.
    pub fn ack(&self, record: &impl Located) -> Result<(), Error> {
        let order = Order::Ack(record.topic_partition().clone(), record.offset());
        self.orders.send(order).map_err(|_| self.why_ended())
    }

    /// Goes on from `offset` in a partition; what is committed does not change.
    ///
    /// Records of it that were handed out before need no ack any more, and those that are still in
    /// the channel come all the same.
    ///
    /// # Errors
    /// `NotOwner`; why the member has ended, if it has: `Fenced`, `Closed`.
    pub fn seek(&self, partition: &TopicPartition, offset: Offset) -> Result<(), Error> {
        self.ask(|reply| Order::Seek(partition.clone(), offset, reply))
    }

    /// Commits everything that was acked, and returns when that is done.
    ///
    /// # Errors
    /// As for [`Consumer::commit`].
    pub fn flush(&self) -> Result<(), Error> {
        self.ask(Order::Flush)
    }

    /// Commits everything that was acked, and leaves the group; for all clones.
    ///
    /// # Errors
    /// As for [`Consumer::commit`]; why the member has ended, if it has.
    pub fn leave(self) -> Result<(), Error> {
        self.ask(Order::Leave)
    }

    fn ask(&self, order: impl FnOnce(Sender<Result<(), Error>>) -> Order) -> Result<(), Error> {
        let (reply, answer) = bounded(1);
        self.orders.send(order(reply)).map_err(|_| self.why_ended())?;
        // An order that nobody carries out any more is dropped, and its answer with it.
        answer.recv().map_err(|_| self.why_ended())?
    }

    fn why_ended(&self) -> Error {
        self.ended.get().unwrap_or_else(|| Error::bare(ErrorKind::Fenced))
    }
}

/// The memory of a channel is taken when it is made.
const BOUND_MAX: usize = 1 << 20;

impl fmt::Debug for Acker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Acker").finish_non_exhaustive()
    }
}
