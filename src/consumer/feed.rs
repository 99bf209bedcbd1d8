//! The thread behind a channel: polls, sends, and commits what is acked.
//!
//! It waits in one place for three things: room in the channel, orders of the ackers, and a signal
//! that the group or a partition has something new, which its consumer gives as it would wake a
//! task. While the channel is full the group is still followed.
//!
//! **Invariants**: every record that was sent is in its partition's track until it is acked, and
//! what is committed never lies behind one that is not; a hand-over token is kept as long as its
//! partition's track holds a record.

use std::collections::{BTreeMap, VecDeque};
use std::task::{Context, Poll, Wake, Waker};

use crossbeam_channel::{Receiver, Select, Sender, TryRecvError, TrySendError, bounded};

use crate::consumer::Consumer;
use crate::error::{Error, ErrorKind};
use crate::group::hand_over::{HandOver, RebalanceListener};
use crate::group::offsets::CommittedOffset;
use crate::offset::{Offset, TopicPartition};
use crate::record::StoredRecord;
use crate::sync::{Arc, Shared};

/// What comes through the channel.
pub(super) type Item = Result<StoredRecord, Error>;

/// Where an order is answered.
type Reply = Sender<Result<(), Error>>;

/// What ackers want.
#[derive(Debug)]
pub(super) enum Order {
    Ack(TopicPartition, Offset),
    Seek(TopicPartition, Offset, Reply),
    Flush(Reply),
    Leave(Reply),
}

/// The thread's own state.
pub(super) struct Feed {
    consumer: Consumer,
    channel: Sender<Item>,
    orders: Receiver<Order>,
    signal: Receiver<()>,
    waker: Waker,
    changes: Arc<Shared<Vec<Change>>>,
    /// Polled, and not in the channel yet.
    ready: VecDeque<Item>,
    tracks: BTreeMap<TopicPartition, Track>,
    /// Why nothing more can be polled.
    over: Option<Error>,
    ended: Arc<Shared<Option<Error>>>,
}

/// The records of one partition that are in somebody's hands.
#[derive(Debug, Default)]
struct Track {
    /// In order, each with whether it was acked.
    sent: VecDeque<(Offset, bool)>,
    /// What can be committed and was not yet.
    due: Option<Offset>,
    /// The partition is to go to another member.
    token: Option<HandOver>,
}

/// What the group has decided.
#[derive(Debug)]
enum Change {
    Revoked(HandOver),
    Gone(TopicPartition),
}

/// Why the thread ends.
enum End {
    /// Nobody needs it any more.
    Unneeded,
    /// It was told to leave; these are told how that went.
    Leave(Vec<Reply>),
    /// The member is out.
    Over(Error),
}

impl Feed {
    pub(super) fn new(
        mut consumer: Consumer,
        channel: Sender<Item>,
        orders: Receiver<Order>,
        ended: Arc<Shared<Option<Error>>>,
    ) -> Self {
        let changes = Arc::new(Shared::default());
        let own = consumer.listener.take();
        let keeper = Keeper { own, changes: Arc::clone(&changes) };
        consumer.listener = Some(Box::new(keeper));
        let (sender, signal) = bounded(1);
        Self {
            consumer,
            channel,
            orders,
            signal,
            waker: Waker::from(Arc::new(Signal(sender))),
            changes,
            ready: VecDeque::new(),
            tracks: BTreeMap::new(),
            over: None,
            ended,
        }
    }

    /// Works until the member is out, or nobody needs it any more.
    pub(super) fn run(mut self) {
        let end = loop {
            self.poll();
            self.follow();
            if let Some(end) = self.wait() {
                break end;
            }
        };
        let committed = self.commit();
        let reason = match &end {
            End::Over(error) => error.clone(),
            End::Unneeded | End::Leave(_) => Error::bare(ErrorKind::Fenced),
        };
        self.ended.with(|ended| *ended = Some(reason));
        self.tracks.clear();
        let left = self.consumer.leave();
        if let End::Leave(replies) = end {
            answer(&replies, &committed.and(left));
        }
    }

    /// Gets more records if the channel has taken all, and follows the group in any case.
    fn poll(&mut self) {
        let waker = self.waker.clone();
        let mut context = Context::from_waker(&waker);
        if self.ready.is_empty() && self.over.is_none() {
            match self.consumer.poll_batch(&mut context) {
                Poll::Pending => return,
                Poll::Ready(Ok(batch)) => {
                    self.ready.extend(batch.iter().map(|record| Ok(record.to_stored())));
                }
                Poll::Ready(Err(error)) => self.fail(error),
            }
        }
        if self.over.is_none()
            && let Poll::Ready(error) = self.consumer.poll_group(&mut context)
        {
            self.fail(error);
        }
    }

    /// Tells of an error, and leaves out the partition that it is about.
    fn fail(&mut self, error: Error) {
        let is_paused = error.partition().is_some_and(|place| self.consumer.pause(place).is_ok());
        if !is_paused {
            self.over = Some(error.clone());
        }
        self.ready.push_back(Err(error));
    }

    /// Does what the group has decided.
    fn follow(&mut self) {
        for change in self.changes.with(std::mem::take) {
            let (partition, token) = match change {
                Change::Revoked(token) => (token.partition().clone(), Some(token)),
                Change::Gone(partition) => (partition, None),
            };
            // What was not sent is for the next owner.
            let is_of = |record: &StoredRecord| *record.topic_partition() == partition;
            self.ready.retain(|item| !item.as_ref().is_ok_and(is_of));
            match token {
                Some(token) => {
                    self.tracks.entry(partition).or_default().token = Some(token);
                }
                None => {
                    self.tracks.remove(&partition);
                }
            }
        }
        self.hand_over();
    }

    /// Lets go of partitions of which nothing is in anybody's hands.
    fn hand_over(&mut self) {
        self.tracks.retain(|_, track| !track.sent.is_empty() || track.token.is_none());
    }

    /// Waits for an order, room or news, and does what can be done then; some is the end.
    fn wait(&mut self) -> Option<End> {
        if self.ready.is_empty()
            && let Some(error) = self.over.take()
        {
            return Some(End::Over(error));
        }
        let mut select = Select::new();
        select.recv(&self.orders);
        select.recv(&self.signal);
        if !self.ready.is_empty() {
            select.send(&self.channel);
        }
        let _whichever = select.ready();
        let _news = self.signal.try_recv();
        self.send().or_else(|| self.take_orders())
    }

    /// Sends as much as there is room for.
    fn send(&mut self) -> Option<End> {
        while let Some(item) = self.ready.pop_front() {
            let place = item.as_ref().ok();
            let place = place.map(|record| (record.topic_partition().clone(), record.offset()));
            match self.channel.try_send(item) {
                Ok(()) => {}
                Err(TrySendError::Full(item)) => {
                    self.ready.push_front(item);
                    return None;
                }
                Err(TrySendError::Disconnected(_)) => return Some(End::Unneeded),
            }
            if let Some((partition, offset)) = place {
                self.tracks.entry(partition).or_default().sent.push_back((offset, false));
            }
        }
        None
    }

    /// Carries out all orders, then commits what they came to.
    fn take_orders(&mut self) -> Option<End> {
        let mut flushed = Vec::new();
        let mut any = false;
        loop {
            match self.orders.try_recv() {
                Ok(Order::Ack(partition, offset)) => self.ack(&partition, offset),
                Ok(Order::Seek(partition, offset, reply)) => {
                    let _ = reply.send(self.seek(&partition, offset));
                }
                Ok(Order::Flush(reply)) => flushed.push(reply),
                // The commit at the end is for all of them.
                Ok(Order::Leave(reply)) => {
                    flushed.push(reply);
                    return Some(End::Leave(flushed));
                }
                Err(TryRecvError::Empty) => break,
                Err(TryRecvError::Disconnected) => return Some(End::Unneeded),
            }
            any = true;
        }
        if any {
            self.settle(&flushed);
        }
        None
    }

    /// Commits what was acked, and lets go of what is done with.
    fn settle(&mut self, flushed: &[Reply]) {
        let committed = self.commit();
        self.hand_over();
        answer(flushed, &committed);
        // That the member is out is told by the next poll.
        let is_news =
            |error: &Error| !matches!(error.kind(), ErrorKind::Fenced | ErrorKind::Closed);
        if let Err(error) = committed
            && flushed.is_empty()
            && is_news(&error)
        {
            self.ready.push_back(Err(error));
        }
    }

    fn ack(&mut self, partition: &TopicPartition, offset: Offset) {
        let Some(track) = self.tracks.get_mut(partition) else { return };
        let Ok(found) = track.sent.binary_search_by_key(&offset, |(offset, _)| *offset) else {
            return;
        };
        if let Some((_, is_acked)) = track.sent.get_mut(found) {
            *is_acked = true;
        }
        while track.sent.front().is_some_and(|(_, is_acked)| *is_acked) {
            let done = track.sent.pop_front();
            track.due = done.and_then(|(offset, _)| offset.checked_add(1));
        }
    }

    fn seek(&mut self, partition: &TopicPartition, offset: Offset) -> Result<(), Error> {
        self.consumer.seek(partition, offset)?;
        self.consumer.resume(partition)?;
        let is_of = |record: &StoredRecord| record.topic_partition() == partition;
        self.ready.retain(|item| !item.as_ref().is_ok_and(is_of));
        if let Some(track) = self.tracks.get_mut(partition) {
            track.sent.clear();
        }
        Ok(())
    }

    /// Commits what is due, as one entry; it stays due if that fails.
    fn commit(&mut self) -> Result<(), Error> {
        let due = self.tracks.iter();
        let due = due.filter_map(|(partition, track)| Some((partition, track.due?)));
        let parts = due.filter_map(|(partition, offset)| {
            Some(self.consumer.owned(partition)?.propose(CommittedOffset::at(offset)))
        });
        let parts = parts.collect::<Vec<_>>();
        if !parts.is_empty() {
            let consumer = &self.consumer;
            let result = consumer.group.commit_owned(consumer.member, &parts);
            result.map_err(|error| consumer.told(error, "commit"))?;
        }
        self.tracks.values_mut().for_each(|track| track.due = None);
        Ok(())
    }
}

fn answer(replies: &[Reply], outcome: &Result<(), Error>) {
    for reply in replies {
        let _ = reply.send(outcome.clone());
    }
}

/// Notes what the group has decided, and tells the user's own listener.
struct Keeper {
    own: Option<Box<dyn RebalanceListener>>,
    changes: Arc<Shared<Vec<Change>>>,
}

impl RebalanceListener for Keeper {
    fn assigned(&mut self, partitions: &[TopicPartition]) {
        if let Some(own) = &mut self.own {
            own.assigned(partitions);
        }
    }

    fn revoked(&mut self, tokens: Vec<HandOver>) {
        if let Some(own) = &mut self.own {
            own.revoked(tokens.iter().map(HandOver::split).collect());
        }
        self.changes.with(|changes| changes.extend(tokens.into_iter().map(Change::Revoked)));
    }

    fn lost(&mut self, partitions: &[TopicPartition]) {
        if let Some(own) = &mut self.own {
            own.lost(partitions);
        }
        let gone = partitions.iter().cloned().map(Change::Gone);
        self.changes.with(|changes| changes.extend(gone));
    }
}

/// Wakes the thread as if it were a task.
#[derive(Debug)]
struct Signal(Sender<()>);

impl Wake for Signal {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        // One signal that was not taken yet is as good as two.
        let _ = self.0.try_send(());
    }
}
