//! Readers and consumers as async streams (feature `stream`).
//!
//! They are types of their own: a reader is an iterator already, and a type that is both would make
//! every `next()` ambiguous.

use std::pin::Pin;
use std::task::{Context, Poll};

use futures_core::Stream;

use crate::consumer::Consumer;
use crate::cursor::Batch;
use crate::error::{Error, ErrorKind};
use crate::reader::Reader;
use crate::record::StoredRecord;

/// The records of a [`Reader`], as a stream.
///
/// It gives what the reader gives as an iterator, and ends where that ends. Dropping a future that
/// waits for its next record loses nothing.
#[derive(Debug)]
#[must_use = "streams do nothing unless polled"]
pub struct RecordStream {
    reader: Reader,
}

impl Reader {
    /// The records as an async stream.
    ///
    /// # Examples
    /// ```
    /// use brooklet::{Log, Record, TopicConfig};
    /// use futures_lite::StreamExt;
    ///
    /// # pollster::block_on(async {
    /// let log = Log::in_memory()?;
    /// log.create_topic("orders", TopicConfig::new())?;
    /// log.producer("orders")?.submit(Record::new("created")).await?;
    /// let mut records = log.reader("orders").stop_at_end().open()?.into_stream();
    /// while let Some(record) = records.next().await {
    ///     assert_eq!(record?.value(), Some(&b"created"[..]));
    /// }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # })?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn into_stream(self) -> RecordStream {
        RecordStream { reader: self }
    }
}

impl RecordStream {
    /// The reader, which goes on behind the last record that the stream gave.
    #[must_use]
    pub fn into_reader(self) -> Reader {
        self.reader
    }
}

impl Stream for RecordStream {
    type Item = Result<StoredRecord, Error>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.reader.poll_record(context)
    }
}

/// The batches of a [`Consumer`], as a stream that waits for more until the member is out.
///
/// Each item is what [`Consumer::poll_async`] gives. The stream ends behind `Fenced` or `Closed`;
/// behind any other error it goes on. Between an item that was waited for and the next one, the
/// member must not stay away for too long, as between two polls; while the stream waits it is not
/// late, also if nobody asks the stream in the meantime.
#[derive(Debug)]
#[must_use = "streams do nothing unless polled"]
pub struct BatchStream {
    consumer: Consumer,
    has_ended: bool,
}

impl Consumer {
    /// The batches as an async stream.
    ///
    /// # Examples
    /// ```
    /// use brooklet::{Log, Record, TopicConfig};
    /// use futures_lite::StreamExt;
    ///
    /// # pollster::block_on(async {
    /// let log = Log::in_memory()?;
    /// log.create_topic("orders", TopicConfig::new())?;
    /// log.producer("orders")?.submit(Record::new("created")).await?;
    /// let mut batches = log.consumer("billing").topics(["orders"]).open()?.into_stream();
    /// if let Some(batch) = batches.next().await {
    ///     assert_eq!(batch?.len(), 1);
    ///     batches.consumer().commit_async().await?;
    /// }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # })?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn into_stream(self) -> BatchStream {
        BatchStream { consumer: self, has_ended: false }
    }
}

impl BatchStream {
    /// The consumer, to commit with.
    #[must_use]
    pub fn consumer(&self) -> &Consumer {
        &self.consumer
    }

    /// The consumer, to seek and pause with.
    #[must_use]
    pub fn consumer_mut(&mut self) -> &mut Consumer {
        &mut self.consumer
    }

    /// The consumer, which goes on behind the last batch that the stream gave.
    #[must_use]
    pub fn into_consumer(self) -> Consumer {
        self.consumer
    }
}

impl Stream for BatchStream {
    type Item = Result<Batch, Error>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if self.has_ended {
            return Poll::Ready(None);
        }
        let next = std::task::ready!(self.consumer.poll_batch(context));
        if let Err(error) = &next {
            self.has_ended = matches!(error.kind(), ErrorKind::Fenced | ErrorKind::Closed);
        }
        Poll::Ready(Some(next))
    }
}
